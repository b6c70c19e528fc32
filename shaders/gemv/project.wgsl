// gemv/project: one row times a packed matrix, with the norm before it and what is added after it. See docs/MATH.md#gemv.
//
//   y = rstd * (W (gain * x)) + bias + residual       rstd = 1 / sqrt(mean(x^2) + eps), 1 without NORM
//
// | @ | name     | access  | type             | shape |
// |---|----------|---------|------------------|--------|
// | 0 | p        | uniform | Params           | |
// | 1 | x        | read    | array<vec4<f32>> | (K) |
// | 2 | gain     | read    | array<vec4<f32>> | (K), if NORM |
// | 3 | data     | read    | array<vec4<u32>> | (panels, units, 32) |
// | 4 | scales   | read    | array<u32>       | (panels, K / 64, 32), if int8 or int4 |
// | 5 | bias     | read    | array<f32>       | (N), if BIAS |
// | 6 | residual | read    | array<f32>       | (N), if RESIDUAL |
// | 7 | y        | write   | array<f32>       | (N) |
//
// grid: one workgroup of 32 rows x SLICES parts of K per panel, folded.   overrides: SLICES, NORM, BIAS, RESIDUAL
#import params
#import grid
#import panel
#import dot
#import slices

override NORM: bool = false;
override BIAS: bool = false;
override RESIDUAL: bool = false;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gain: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> data: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> scales: array<u32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read> residual: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n = flat(group, groups) * PANEL + lane % PANEL;
    let stored = min(n / PANEL, (p.rows - 1u) / PANEL) * PANEL + lane % PANEL;
    squares = 0.0;
    var sum = vec4<f32>();
    for (var c = lane / PANEL; c < p.units; c += SLICES) {
        let i = c * (PER_UNIT / 4u);
        sum += scale_of(stored, c) * times_x(data[unit_of(stored, c, p.units)], i);
        add_squares(i, PER_UNIT / 4u);
    }
    let both = over_slices(vec2(total(sum), squares), lane);
    if lane < PANEL && n < p.rows {
        var v = both.x;
        if NORM { v *= inverseSqrt(both.y / f32(p.cols) + p.eps); }
        if BIAS { v += bias[p.first + n]; }
        if RESIDUAL { v += residual[p.first + n]; }
        y[p.first + n] = v;
    }
}
