// gemv/gated: one normed row times gate and up, which alternate panel by panel, and what becomes of them. See docs/MATH.md#gemv.
//
//   z = rstd * gain * x, x without NORM       y = silu(gate z) * (up z)
//
// | @ | name   | access  | type             | shape |
// |---|--------|---------|------------------|--------|
// | 0 | p      | uniform | Params           | |
// | 1 | x      | read    | array<vec4<f32>> | (K) |
// | 2 | gain   | read    | array<vec4<f32>> | (K), if NORM |
// | 3 | data   | read    | array<vec4<u32>> | (2 panels, units, 32) |
// | 4 | scales | read    | array<u32>       | (2 panels, K / 64, 32), if int8 or int4 |
// | 5 | y      | write   | array<f32>       | (F) |
//
// grid: one workgroup per 32 rows of y, folded.   overrides: SLICES, WG (8 SLICES), NORM
#import params
#import grid
#import panel
#import slices
#import dot

override NORM: bool = false;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gain: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> data: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> scales: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn store(row: u32, gate: f32, up: f32, sum_of_squares: f32) {
    if row < p.rows {
        let rstd = rstd_of(sum_of_squares);
        let g = gate * rstd;
        y[row] = g / (1.0 + exp(-g)) * up * rstd;
    }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // The folded grid has more workgroups than panels.
    let panel = min(flat(group, groups), (p.rows - 1u) / PANEL);
    let gates = rows_times_x(2u * panel, lane);
    let ups = rows_times_x(2u * panel + 1u, lane);
    if SLICES == 1u {
        for (var i = 0u; i < 4u; i++) {
            store(panel * PANEL + i * LANES + lane, gates[i], ups[i], squares);
        }
    } else {
        gather(gates, lane);
        let gate = row_sum(lane % PANEL);
        gather(ups, lane);
        if lane < PANEL {
            store(panel * PANEL + lane, gate, row_sum(lane), all_squares());
        }
    }
}
