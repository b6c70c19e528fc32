struct Params {
    rows: u32, // rows of x (R)
    cols: u32, // columns (C)
    period: u32, // rows of the table; row r of x takes row r % period
    chunks: u32, // parts that the rows of one period class are summed in
    per_chunk: u32, // rows of a class per part
}
