struct Params {
    count: u32, // elements
}
