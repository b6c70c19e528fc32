struct Params {
    rows: u32, // R
    cols: u32, // C
    eps: f32, // added to the variance
    chunks: u32, // parts of the rows in the gradient of the gains
    per_chunk: u32, // rows per part
}
