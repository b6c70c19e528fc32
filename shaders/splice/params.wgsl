struct Params {
    batch: u32, // B
    text: u32, // T
    image: u32, // N
    cols: u32, // C
    blank: u32, // 1: image rows are zero
}
