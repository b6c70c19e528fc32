// rope/rotate: moves rows of heads from x to y and rotates each by its row of angles (half-split layout).
//
//   (a, b) = (x_j, x_{j + D/2}):   y_j = a cos_j - b sin_j,   y_{j + D/2} = b cos_j + a sin_j,   sin times sign
//
// The tables come from the host, so 1-D positions, 2-D positions and every frequency layout are data. Backward is the same
// with sign -1 and x, y exchanged; sign 0 copies.
//
// | @ | name  | access  | type             | shape |
// |---|-------|---------|------------------|-------------------------------|
// | 0 | p     | uniform | Params           | |
// | 1 | rows  | read    | array<u32>       | (B, 3): length, offset, start |
// | 2 | x     | read    | array<f32>       | (B, src_rows, H, D) |
// | 3 | table | read    | array<vec2<f32>> | (B or 1, table rows, D/2) |
// | 4 | y     | write   | array<f32>       | (B, dst_rows, H, D) |
//
// grid: one invocation per rotated pair, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    let pairs = p.heads * p.half;
    if i < p.batch * p.count * pairs {
        let e = i % pairs;
        let t = i / pairs % p.count;
        let b = i / (pairs * p.count);
        let at = e / p.half * p.half * 2u + e % p.half;
        let width = pairs * 2u;
        let from_row = (b * p.src_rows + p.src_start + t) * width + at;
        let start = rows[3u * b + 2u];
        let to = p.dst_start + t + select(0u, start, p.dynamic == 1u);
        let to_row = (b * p.dst_rows + to) * width + at;
        let u = x[from_row];
        let v = x[from_row + p.half];
        if p.sign == 0.0 {
            y[to_row] = u;
            y[to_row + p.half] = v;
        } else {
            let position = p.table_start + t + select(0u, start, p.table_by_position == 1u);
            let turn = table[(b * p.table_rows + position) * p.half + e % p.half];
            let s = turn.y * p.sign;
            y[to_row] = u * turn.x - v * s;
            y[to_row + p.half] = v * turn.x + u * s;
        }
    }
}
