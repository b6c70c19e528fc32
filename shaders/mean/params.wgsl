struct Params {
    groups: u32, // B
    rows: u32, // N, rows that are averaged
    cols: u32, // C
}
