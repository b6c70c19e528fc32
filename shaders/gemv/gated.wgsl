// gemv/gated: one normed row times gate and up, which alternate panel by panel, and what becomes of them. See docs/MATH.md#gemv.
//
//   z = gain * x * rstd       y = silu(gate z) * (up z)
//
// | @ | name   | access  | type             | shape |
// |---|--------|---------|------------------|--------|
// | 0 | p      | uniform | Params           | |
// | 1 | x      | read    | array<vec4<f32>> | (K) |
// | 2 | gain   | read    | array<vec4<f32>> | (K) |
// | 3 | data   | read    | array<vec4<u32>> | (2 panels, units, 32) |
// | 4 | scales | read    | array<u32>       | (2 panels, K / 64, 32), if int8 or int4 |
// | 5 | y      | write   | array<f32>       | (F) |
//
// grid: one workgroup of 32 rows x SLICES parts of K per two panels, folded.   overrides: SLICES
#import params
#import grid
#import panel
#import dot
#import slices

const NORM = true;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gain: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> data: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> scales: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n = flat(group, groups) * PANEL + lane % PANEL;
    let gate_row = min(n / PANEL, (p.rows - 1u) / PANEL) * 2u * PANEL + lane % PANEL;
    let up_row = gate_row + PANEL;
    squares = 0.0;
    var gate = vec4<f32>();
    var up = vec4<f32>();
    for (var c = lane / PANEL; c < p.units; c += SLICES) {
        let i = c * (PER_UNIT / 4u);
        gate += scale_of(gate_row, c) * times_x(data[unit_of(gate_row, c, p.units)], i);
        up += scale_of(up_row, c) * times_x(data[unit_of(up_row, c, p.units)], i);
        add_squares(i, PER_UNIT / 4u);
    }
    let gated = over_slices(vec2(total(gate), squares), lane);
    if SLICES > 1u { workgroupBarrier(); }
    let raised = over_slices(vec2(total(up), 0.0), lane);
    if lane < PANEL && n < p.rows {
        let rstd = inverseSqrt(gated.y / f32(p.cols) + p.eps);
        let g = gated.x * rstd;
        y[n] = g / (1.0 + exp(-g)) * raised.x * rstd;
    }
}
