struct Params {
    rows: u32, // R rows of text
    image: u32, // M rows of pictures
    cols: u32, // C
}
