// Sum and maximum over a workgroup of WG invocations (any WG, a power of two or not), through workgroup memory.
// Every invocation must call, in uniform control flow; every invocation gets the result.

var<workgroup> reduce_scratch: array<f32, WG>;

fn reduce_sum(value: f32, lane: u32) -> f32 {
    workgroupBarrier();
    reduce_scratch[lane] = value;
    workgroupBarrier();
    var width = WG;
    while width > 1u {
        let half = (width + 1u) / 2u;
        if lane + half < width {
            reduce_scratch[lane] += reduce_scratch[lane + half];
        }
        workgroupBarrier();
        width = half;
    }
    return reduce_scratch[0];
}

fn reduce_max(value: f32, lane: u32) -> f32 {
    workgroupBarrier();
    reduce_scratch[lane] = value;
    workgroupBarrier();
    var width = WG;
    while width > 1u {
        let half = (width + 1u) / 2u;
        if lane + half < width {
            reduce_scratch[lane] = max(reduce_scratch[lane], reduce_scratch[lane + half]);
        }
        workgroupBarrier();
        width = half;
    }
    return reduce_scratch[0];
}
