// matmul/tile: the portable GPU variant. A TILE x TILE tile of y per workgroup, 4 x 4 per invocation, K in steps of STEP
// through workgroup memory (4 KiB). Equations as in matmul/naive.
//
// | @ | name     | access  | type       | shape               |
// |---|----------|---------|------------|---------------------|
// | 0 | p        | uniform | Params     |                     |
// | 1 | a        | read    | array<f32> | see matmul/naive    |
// | 2 | b        | read    | array<f32> | see matmul/naive    |
// | 3 | bias     | read    | array<f32> | (N), if BIAS        |
// | 4 | residual | read    | array<f32> | (M, N), if RESIDUAL |
// | 5 | y        | dest    | array<f32> | (M, N)              |
//
// grid: (ceil(N / TILE), ceil(M / TILE)).   overrides: BIAS, RESIDUAL, ACCUMULATE
#import params
#import epilogue

// Rows and columns of a tile; the launcher counts with it, too.
const TILE = 32u;
const STEP = 16u;
// vec4s across a tile, and of a tile at all steps of K.
const ACROSS = TILE / 4u;
const UNITS = STEP * ACROSS;
const LANES = ACROSS * ACROSS;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

// [k][row or column], so that the inner loop reads vec4s.
var<workgroup> tile_a: array<vec4<f32>, UNITS>;
var<workgroup> tile_b: array<vec4<f32>, UNITS>;

fn load_a(row: u32, k: u32) -> f32 {
    if row >= p.m || k >= p.k { return 0.0; }
#ifdef TN
    return a[k * p.m + row];
#else
    return a[row * p.k + k];
#endif
}

fn load_b(k: u32, col: u32) -> f32 {
    if col >= p.n || k >= p.k { return 0.0; }
#ifdef NT
    return b[col * p.k + k];
#else
    return b[k * p.n + col];
#endif
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = group.y * TILE;
    let col0 = group.x * TILE;
    let ty = lane / ACROSS;
    let tx = lane % ACROSS;
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    for (var k0 = 0u; k0 < p.k; k0 += STEP) {
        // Vec4 i holds four rows from 4 (i % ACROSS) on at k0 + i / ACROSS.
        for (var i = lane; i < UNITS; i += LANES) {
            let k = k0 + i / ACROSS;
            let r = row0 + (i % ACROSS) * 4u;
            let c = col0 + (i % ACROSS) * 4u;
            tile_a[i] = vec4(load_a(r, k), load_a(r + 1u, k), load_a(r + 2u, k), load_a(r + 3u, k));
            tile_b[i] = vec4(load_b(k, c), load_b(k, c + 1u), load_b(k, c + 2u), load_b(k, c + 3u));
        }
        workgroupBarrier();
        for (var k = 0u; k < STEP; k++) {
            let x = tile_a[k * ACROSS + ty];
            let w = tile_b[k * ACROSS + tx];
            c0 = fma(vec4(x.x), w, c0);
            c1 = fma(vec4(x.y), w, c1);
            c2 = fma(vec4(x.z), w, c2);
            c3 = fma(vec4(x.w), w, c3);
        }
        workgroupBarrier();
    }
    let row = row0 + ty * 4u;
    let col = col0 + tx * 4u;
    for (var i = 0u; i < 4u; i++) {
        store(row, col + i, c0[i]);
        store(row + 1u, col + i, c1[i]);
        store(row + 2u, col + i, c2[i]);
        store(row + 3u, col + i, c3[i]);
    }
}
