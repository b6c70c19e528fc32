// What is added to a product before it is stored, by override.

override BIAS: bool = false;
override RESIDUAL: bool = false;
override ACCUMULATE: bool = false;

fn store(row: u32, col: u32, value: f32) {
    if row < p.m && col < p.n {
        let at = row * p.n + col;
        var v = value;
        if BIAS { v += bias[col]; }
        if RESIDUAL { v += residual[at]; }
        if ACCUMULATE { v += y[at]; }
        y[at] = v;
    }
}
