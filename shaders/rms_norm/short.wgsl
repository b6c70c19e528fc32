// rms_norm/short: rms_norm/forward for short rows, such as heads: a lane takes a whole row, four values at a time.
//
// | @ | name  | access  | type             | shape |
// |---|-------|---------|------------------|--------|
// | 0 | p     | uniform | Params           | |
// | 1 | x     | read    | array<vec4<f32>> | (R, C) |
// | 2 | w     | read    | array<vec4<f32>> | (C) |
// | 3 | y     | write   | array<vec4<f32>> | (R, C) |
// | 4 | stats | write   | array<f32>       | (R) |
//
// grid: one lane per row, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = flat(group, groups) * WG + lane;
    if row >= p.rows { return; }
    let quads = p.cols / 4u;
    let at = row * quads;
    var squares = 0.0;
    for (var i = 0u; i < quads; i++) {
        squares += dot(x[at + i], x[at + i]);
    }
    let rstd = inverseSqrt(squares / f32(p.cols) + p.eps);
    for (var i = 0u; i < quads; i++) {
        y[at + i] = x[at + i] * rstd * w[i];
    }
    stats[row] = rstd;
}
