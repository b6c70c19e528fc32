"""The processes of a run, and how a model is spread over them: copies (DDP), or parts (FSDP2)."""

import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from .errors import HiveError


class Group:
    """All processes that `torchrun` started, or this one alone."""

    def __init__(self, fsdp=False):
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        local = int(os.environ.get("LOCAL_RANK", 0))
        self.fsdp = fsdp
        started = "WORLD_SIZE" in os.environ
        if fsdp and not started:
            raise HiveError(
                "--fsdp parts the model over processes: start it with torchrun --nproc-per-node N -m hive_torch.train"
            )
        self.device = _device(local)
        if started:
            cuda = self.device.type == "cuda"
            dist.init_process_group("nccl" if cuda else "gloo", device_id=self.device if cuda else None)

    @property
    def first(self):
        """Is this the process that writes?"""
        return self.rank == 0

    def sum(self, numbers):
        """Sums of numbers over all processes, float64 list."""
        if self.size == 1:
            return [float(n) for n in numbers]
        total = torch.tensor([float(n) for n in numbers], dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def gather(self, part):
        """A dictionary of the parts that all processes have, the same on each."""
        if self.size == 1:
            return part
        parts = [None] * self.size
        dist.all_gather_object(parts, part)
        return {key: value for one in parts for key, value in one.items()}

    def share(self, rows):
        """First and end of this process' part of so many rows."""
        return self.rank * rows // self.size, (self.rank + 1) * rows // self.size

    def close(self):
        """Ends the processes' connection."""
        if dist.is_initialized():
            dist.destroy_process_group()


def _device(local):
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local >= torch.cuda.device_count():
        raise HiveError(
            f"process {local} of this machine has no GPU of its own, there are {torch.cuda.device_count()}: "
            "give torchrun --nproc-per-node as many, or hide all of them with CUDA_VISIBLE_DEVICES="
        )
    torch.cuda.set_device(local)
    # Convolutions would else round to 10 bits; matrix products do not by default.
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda", local)


def spread(model, group, unused, with_image):
    """The model over the processes. `unused`: are there trained parameters that the loss does not depend on?"""
    if group.fsdp:
        return _parted(model, model.config.link_config.language_layers if with_image else [])
    if group.size == 1:
        return model
    ids = [group.device.index] if group.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, find_unused_parameters=unused)


def _parted(model, linked):
    """Every block, and every decoder layer together with its link where that runs, is gathered only while it runs."""
    from torch.distributed.fsdp import fully_shard

    for block in model.vision_model.encoder.layers:
        fully_shard(block)
    for i, layer in enumerate(model.model.layers):
        fully_shard([layer, model.links[linked.index(i)]] if i in linked else layer)
    return fully_shard(model)


def whole(tensor):
    """A parameter, gradient or moment on the host, whole (a copy). All processes must ask."""
    tensor = tensor.detach()
    if hasattr(tensor, "full_tensor"):
        tensor = tensor.full_tensor()
    return tensor.to("cpu", copy=True)


def like(tensor, param):
    """A whole tensor, spread as `param` is."""
    if not hasattr(param, "device_mesh"):
        return tensor.to(param.device, copy=True)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(param.device), param.device_mesh, param.placements)
