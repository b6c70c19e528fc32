// sum_squares/clip: the global gradient norm and the factor that clips it, without a readback.
//
//   clip = (factor, norm, finite):   norm = sqrt(sum),   factor = min(1, max_norm / (norm + 1e-6)), 0 if not finite
//
// | @ | name     | access  | type       | shape |
// |---|----------|---------|------------|------------|
// | 0 | p        | uniform | Params     | |
// | 1 | partials | read    | array<f32> | (partials) |
// | 2 | clip     | write   | array<f32> | (3) |
//
// grid: one workgroup.   overrides: WG
#import params
#import grid
#import reduce

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read_write> clip: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < p.partials; i += WG) {
        sum += partials[i];
    }
    sum = reduce_sum(sum, lane);
    if lane == 0u && flat(group, groups) == 0u {
        let norm = sqrt(sum);
        // Shading languages may assume that NaN and infinity do not occur, so look at the exponent bits.
        let finite = (bitcast<u32>(sum) & 0x7f800000u) != 0x7f800000u;
        let factor = select(1.0, min(1.0, p.max_norm / (norm + 1e-6)), p.max_norm > 0.0);
        clip[0] = select(0.0, factor, finite);
        clip[1] = norm;
        clip[2] = select(0.0, 1.0, finite);
    }
}
