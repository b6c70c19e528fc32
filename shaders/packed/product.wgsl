// packed/product: rows times a packed matrix on hardware. Weights become floats on their way into workgroup memory, nowhere else.
//
//   y = x wᵀ
//
// | @ | name     | access  | type             | shape |
// |---|----------|---------|------------------|-------|
// | 0 | p        | uniform | Params           | |
// | 1 | x        | read    | array<f32>       | (M, K) |
// | 2 | data     | read    | array<vec4<u32>> | (panels, units, 32) |
// | 3 | scales   | read    | array<u32>       | (panels, K / 64, 32), if int8 or int4 |
// | 4 | bias     | read    | array<f32>       | (N), if BIAS |
// | 5 | residual | read    | array<f32>       | (M, N), if RESIDUAL |
// | 6 | y        | write   | array<f32>       | (M, N) |
//
// grid: (ceil(N / TILE), ceil(M / TILE)): a panel of weights and as many rows.   overrides: BIAS, RESIDUAL
#import params
#import panel
#import decode

override BIAS: bool = false;
override RESIDUAL: bool = false;

const TILE = 32u;
// Values of K that are in workgroup memory at a time: those that share a scale.
const STEP = 32u;
const WORDS = STEP / PER_WORD;
// vec4s across a tile.
const ACROSS = TILE / 4u;
// One more, so that lanes with neighbouring k meet different banks.
const PITCH = ACROSS + 1u;
const LANES = ACROSS * ACROSS;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> data: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> scales: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> residual: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

// [k][row or column].
var<workgroup> tile_x: array<vec4<f32>, STEP * PITCH>;
var<workgroup> tile_w: array<vec4<f32>, STEP * PITCH>;

fn store(row: u32, col: u32, value: f32) {
    if row < p.count && col < p.rows {
        let at = row * p.rows + col;
        var v = value;
        if BIAS { v += bias[col]; }
        if RESIDUAL { v += residual[at]; }
        y[at] = v;
    }
}

fn load_x(row: u32, k: u32) -> f32 {
    if row >= p.count || k >= p.cols { return 0.0; }
    return x[row * p.cols + k];
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = group.y * TILE;
    let stored = p.start + group.x * p.step * PANEL;
    let ty = lane / ACROSS;
    let tx = lane % ACROSS;
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    for (var k0 = 0u; k0 < p.cols; k0 += STEP) {
        for (var i = lane; i < STEP * ACROSS; i += LANES) {
            let k = k0 + i % STEP;
            let r = row0 + i / STEP * 4u;
            tile_x[i % STEP * PITCH + i / STEP] = vec4(load_x(r, k), load_x(r + 1u, k), load_x(r + 2u, k), load_x(r + 3u, k));
        }
        // The same word of four rows of the panel.
        for (var i = lane; i < WORDS * ACROSS; i += LANES) {
            let r = stored + i % ACROSS * 4u;
            let word = k0 / PER_WORD + i / ACROSS;
            let at = unit_of(r, word / 4u, p.units);
            let w = vec4(data[at][word % 4u], data[at + 1u][word % 4u], data[at + 2u][word % 4u], data[at + 3u][word % 4u]);
            let s = vec4(scale_at(r, k0), scale_at(r + 1u, k0), scale_at(r + 2u, k0), scale_at(r + 3u, k0));
            for (var j = 0u; j < PER_WORD; j++) {
                tile_w[(i / ACROSS * PER_WORD + j) * PITCH + i % ACROSS] =
                    vec4(decoded(w.x, j, s.x), decoded(w.y, j, s.y), decoded(w.z, j, s.z), decoded(w.w, j, s.w));
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < STEP; k++) {
            let a = tile_x[k * PITCH + ty];
            let b = tile_w[k * PITCH + tx];
            c0 = fma(vec4(a.x), b, c0);
            c1 = fma(vec4(a.y), b, c1);
            c2 = fma(vec4(a.z), b, c2);
            c3 = fma(vec4(a.w), b, c3);
        }
        workgroupBarrier();
    }
    let row = row0 + ty * 4u;
    let col = group.x * TILE + tx * 4u;
    for (var i = 0u; i < 4u; i++) {
        store(row, col + i, c0[i]);
        store(row + 1u, col + i, c1[i]);
        store(row + 2u, col + i, c2[i]);
        store(row + 3u, col + i, c3[i]);
    }
}
