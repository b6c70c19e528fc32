// place/forward: rows of pictures among rows of text. Each is a blend of up to four rows of what the tower's tiles became.
//
//   y[r] = Σ_k weights[r, k] image[taps[r, k]]   if taps[r, 0] < M;   x[r] otherwise
//
// | @ | name    | access  | type       | shape |
// |---|---------|---------|------------|--------|
// | 0 | p       | uniform | Params     | |
// | 1 | taps    | read    | array<u32> | (R, 4) |
// | 2 | weights | read    | array<f32> | (R, 4) |
// | 3 | x       | read    | array<f32> | (R, C) |
// | 4 | image   | read    | array<f32> | (M, C) |
// | 5 | y       | write   | array<f32> | (R, C) |
//
// grid: one invocation per element, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> taps: array<u32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read> image: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.rows * p.cols {
        let r = i / p.cols;
        let c = i % p.cols;
        if taps[4u * r] < p.image {
            var sum = 0.0;
            for (var k = 0u; k < 4u; k++) {
                let m = min(taps[4u * r + k], p.image - 1u);
                sum += weights[4u * r + k] * image[m * p.cols + c];
            }
            y[i] = sum;
        } else {
            y[i] = x[i];
        }
    }
}
