// cross_entropy/loss: adds the scaled loss of all rows to `loss`, in fixed order.
//
//   loss += scale * sum over rows with a target of (max + log sum - x[target])
//
// | @ | name    | access  | type             | shape |
// |---|---------|---------|------------------|-------|
// | 0 | p       | uniform | Params           | |
// | 1 | targets | read    | array<u32>       | (R) |
// | 2 | state   | read    | array<vec4<f32>> | (R) |
// | 3 | scale   | read    | array<f32>       | (1) |
// | 4 | loss    | update  | array<f32>       | (1) |
//
// grid: one workgroup.   overrides: WG
#import params
#import grid
#import reduce

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read> state: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var r = lane; r < p.total; r += WG) {
        let s = state[r];
        if targets[r] != 0xffffffffu {
            sum += s.x + log(s.y) - s.z;
        }
    }
    sum = reduce_sum(sum, lane);
    if lane == 0u && flat(group, groups) == 0u {
        loss[0] += sum * scale[0];
    }
}
