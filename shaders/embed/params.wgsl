struct Params {
    rows: u32, // R token positions
    cols: u32, // C
    vocab: u32, // V
}
