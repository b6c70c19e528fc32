// How a workgroup shares a panel: a lane has four of its 32 rows, and 8 lanes have the panel; SLICES such eights have a slice of
// K each, every SLICES-th unit.

const LANES: u32 = 8u;

override SLICES: u32 = 32u;
override WG: u32 = 256u; // LANES times SLICES

var<workgroup> slice_sums: array<vec4<f32>, WG>;
var<workgroup> slice_squares: array<f32, WG>;

// Brings the slices together, for `row_sum` and `row_squares`. Every invocation must call, in uniform control flow.
fn gather(sums: vec4<f32>, lane: u32) {
    workgroupBarrier();
    slice_sums[lane] = sums;
    slice_squares[lane] = squares;
    workgroupBarrier();
}

// Sum over the slices of a row of the panel.
fn row_sum(row: u32) -> f32 {
    var sum = 0.0;
    for (var s = 0u; s < SLICES; s++) {
        sum += slice_sums[s * LANES + row % LANES][row / LANES];
    }
    return sum;
}

// Sum of all squares of x.
fn all_squares() -> f32 {
    var sum = 0.0;
    for (var s = 0u; s < SLICES; s++) {
        sum += slice_squares[s * LANES];
    }
    return sum;
}

// The norm's factor, from the sum of all squares.
fn rstd_of(sum: f32) -> f32 {
    if NORM {
        return inverseSqrt(sum / f32(p.cols) + p.eps);
    }
    return 1.0;
}
