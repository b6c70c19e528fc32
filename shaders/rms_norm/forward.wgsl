// rms_norm/forward: y = x * rstd * w over the last axis; keeps rstd for backward.
//
//   rstd = 1 / sqrt(mean(x^2) + eps)
//
// | @ | name  | access  | type       | shape |
// |---|-------|---------|------------|--------|
// | 0 | p     | uniform | Params     | |
// | 1 | x     | read    | array<f32> | (R, C) |
// | 2 | w     | read    | array<f32> | (C) |
// | 3 | y     | write   | array<f32> | (R, C) |
// | 4 | stats | write   | array<f32> | (R) |
//
// grid: one workgroup per row, folded.   overrides: WG
#import params
#import grid
#import reduce

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = flat(group, groups);
    let at = min(row, p.rows - 1u) * p.cols;
    var squares = 0.0;
    for (var c = lane; c < p.cols; c += WG) {
        squares = fma(x[at + c], x[at + c], squares);
    }
    let rstd = inverseSqrt(reduce_sum(squares, lane) / f32(p.cols) + p.eps);
    if row < p.rows {
        for (var c = lane; c < p.cols; c += WG) {
            y[at + c] = x[at + c] * rstd * w[c];
        }
        if lane == 0u { stats[row] = rstd; }
    }
}
