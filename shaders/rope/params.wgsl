struct Params {
    batch: u32, // B
    count: u32, // rows per sample that are moved
    heads: u32, // heads per row
    half: u32, // D / 2, rotated pairs per head
    src_rows: u32, // rows per sample of x
    src_start: u32, // first of them
    dst_rows: u32, // rows per sample of y
    dst_start: u32, // first of them
    table_rows: u32, // rows per sample of the table; 0: one table for all samples
    table_start: u32, // first row of the table
    table_by_position: u32, // 1: rows[b].start is added to table_start
    dynamic: u32, // 1: rows[b].start is added to dst_start (a key-value cache)
    sign: f32, // 1 forward, -1 backward; 0: copy
}
