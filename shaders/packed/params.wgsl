struct Params {
    rows: u32, // rows of this dispatch: file rows, stored rows, or ids
    cols: u32, // K
    units: u32, // units of 16 bytes per stored row
    start: u32, // first stored row; gather: first vocabulary row of the shard
    step: u32, // panels from one panel of the view to its next
    source: u32, // numbers in the file: 0 f32, 1 f16, 2 bf16, 3 int8 blocks, 4 int4 blocks
    shard: u32, // gather: rows of the shard
    count: u32, // product: rows of x
    skip: u32, // rows of the file before the first
}
