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
// grid: one workgroup per panel of 32 rows, folded.   overrides: SLICES, WG (8 SLICES), NORM, BIAS, RESIDUAL
#import params
#import grid
#import panel
#import slices
#import dot

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

fn store(row: u32, sum: f32, sum_of_squares: f32) {
    if row < p.rows {
        let n = p.first + row;
        var v = sum * rstd_of(sum_of_squares);
        if BIAS { v += bias[n]; }
        if RESIDUAL { v += residual[n]; }
        y[n] = v;
    }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // The folded grid has more workgroups than panels.
    let panel = min(flat(group, groups), (p.rows - 1u) / PANEL);
    let sums = rows_times_x(p.start + panel * p.step, lane);
    if SLICES == 1u {
        for (var i = 0u; i < 4u; i++) {
            store(panel * PANEL + i * LANES + lane, sums[i], squares);
        }
    } else {
        gather(sums, lane);
        if lane < PANEL {
            store(panel * PANEL + lane, row_sum(lane), all_squares());
        }
    }
}
