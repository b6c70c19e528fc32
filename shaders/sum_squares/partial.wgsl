// sum_squares/partial: squared norm of each chunk of a slab of gradients. A chunk lies within one parameter.
//
// | @ | name     | access  | type       | shape |
// |---|----------|---------|------------|----------------------------|
// | 0 | p        | uniform | Params     | |
// | 1 | chunks   | read    | array<u32> | (chunks, 2): start, length |
// | 2 | x        | read    | array<f32> | (slab) |
// | 3 | partials | write   | array<f32> | (partials) |
//
// grid: one workgroup per chunk, folded.   overrides: WG
#import params
#import grid
#import reduce

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> chunks: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> partials: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let chunk = flat(group, groups);
    let c = min(chunk, p.chunks - 1u);
    let start = chunks[2u * c];
    let length = chunks[2u * c + 1u];
    var sum = 0.0;
    for (var i = lane; i < length; i += WG) {
        let v = x[start + i];
        sum = fma(v, v, sum);
    }
    sum = reduce_sum(sum, lane);
    if lane == 0u && chunk < p.chunks { partials[p.first + c] = sum; }
}
