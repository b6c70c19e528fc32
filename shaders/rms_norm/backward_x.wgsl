// rms_norm/backward_x: gradient of RMS norm with respect to its input.
//
//   x̂ = x * rstd        g = dy * w        dx = rstd * (g - x̂ * mean(g * x̂))          mean over C
//
// | @ | name  | access  | type       | shape |
// |---|-------|---------|------------|--------|
// | 0 | p     | uniform | Params     | |
// | 1 | dy    | read    | array<f32> | (R, C) |
// | 2 | x     | read    | array<f32> | (R, C) |
// | 3 | w     | read    | array<f32> | (C) |
// | 4 | stats | read    | array<f32> | (R) |
// | 5 | dx    | dest    | array<f32> | (R, C) |
//
// grid: one workgroup per row, folded.   overrides: WG, ACCUMULATE
#import params
#import grid
#import reduce

override WG: u32 = 64u;
override ACCUMULATE: bool = false;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> w: array<f32>;
@group(0) @binding(4) var<storage, read> stats: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = flat(group, groups);
    let at = min(row, p.rows - 1u) * p.cols;
    let rstd = stats[min(row, p.rows - 1u)];
    var dot = 0.0;
    for (var c = lane; c < p.cols; c += WG) {
        dot = fma(dy[at + c] * w[c], x[at + c] * rstd, dot);
    }
    let along = reduce_sum(dot, lane) / f32(p.cols);
    if row < p.rows {
        for (var c = lane; c < p.cols; c += WG) {
            var d = rstd * (dy[at + c] * w[c] - x[at + c] * rstd * along);
            if ACCUMULATE { d += dx[at + c]; }
            dx[at + c] = d;
        }
    }
}
