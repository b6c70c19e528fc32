// Numbers of a file: floats row by row, or blocks of 32 values: an f16 scale, then 8 or 4 bits for each.

// Sources that are blocks.
const BLOCKS8: u32 = 3u;
const BLOCKS4: u32 = 4u;

fn byte_at(at: u32) -> u32 {
    return (raw[at / 4u] >> (8u * (at % 4u))) & 255u;
}

// First byte of the block of value k.
fn block_at(row: u32, k: u32) -> u32 {
    return ((p.skip + row) * ((p.cols + 31u) / 32u) + k / 32u) * select(18u, 34u, p.source == BLOCKS8);
}

// Scale of the block that begins at an even byte.
fn block_scale(at: u32) -> f32 {
    let both = unpack2x16float(raw[at / 4u]);
    return select(both.x, both.y, at % 4u == 2u);
}

// Value k of a row of blocks.
fn block_value(row: u32, k: u32) -> f32 {
    let at = block_at(row, k);
    let i = k % 32u;
    let wide = i32(byte_at(at + 2u + i) << 24u) >> 24u;
    let narrow = i32(byte_at(at + 2u + i / 2u) << (28u - 4u * (i % 2u))) >> 28u;
    return block_scale(at) * f32(select(narrow, wide, p.source == BLOCKS8));
}

fn value(row: u32, k: u32) -> f32 {
    if p.source >= BLOCKS8 {
        return select(0.0, block_value(row, min(k, p.cols - 1u)), k < p.cols);
    }
    let at = (p.skip + row) * p.cols + min(k, p.cols - 1u);
    var v = 0.0;
    if p.source == 0u {
        v = bitcast<f32>(raw[at]);
    } else {
        let word = raw[at / 2u];
        if p.source == 1u {
            let both = unpack2x16float(word);
            v = select(both.x, both.y, at % 2u == 1u);
        } else {
            v = bitcast<f32>(select(word << 16u, word & 0xffff0000u, at % 2u == 1u));
        }
    }
    return select(0.0, v, k < p.cols);
}
