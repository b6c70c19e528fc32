struct Params {
    rows: u32, // rows of this dispatch
    cols: u32, // K, a multiple of 4
    units: u32, // units of 16 bytes per stored row
    first: u32, // where its rows begin in y
    start: u32, // its first panel
    step: u32, // panels from one of its panels to the next
    eps: f32, // of the norm
}
