// matmul/soft: for drivers that run shaders on a CPU. No workgroup memory: a workgroup of WG lanes makes 16 rows x 4 WG
// columns of y; each lane keeps 16 rows x one vec4 in registers. All lanes load the same elements of a (one scalar load
// for the driver) and neighbouring vec4s of b. y = a bᵀ is not here: the launcher transposes b first.
//
//   nn: y = a b     a (M, K), b (K, N)         tn: y = aᵀ b     a (K, M), b (K, N)
//
// VEC4 needs M (tn) or K (nn), and N, to be multiples of 4 and reads whole vec4s.
//
// | @ | name     | access  | type       | shape               |
// |---|----------|---------|------------|---------------------|
// | 0 | p        | uniform | Params     |                     |
#ifdef VEC4
#ifdef NN
// | 1 | a        | read    | array<f32> | see above           |
#else
// | 1 | a        | read    | array<vec4<f32>> | see above     |
#endif
// | 2 | b        | read    | array<vec4<f32>> | see above     |
#else
// | 1 | a        | read    | array<f32> | see above           |
// | 2 | b        | read    | array<f32> | see above           |
#endif
// | 3 | bias     | read    | array<f32> | (N), if BIAS        |
// | 4 | residual | read    | array<f32> | (M, N), if RESIDUAL |
// | 5 | y        | dest    | array<f32> | (M, N)              |
//
// grid: (ceil(N / (4 WG)), ceil(M / 16)).   overrides: WG, BIAS, RESIDUAL, ACCUMULATE
#import params
#import epilogue

override WG: u32 = 8u;

@group(0) @binding(0) var<uniform> p: Params;
#ifdef VEC4
#ifdef NN
@group(0) @binding(1) var<storage, read> a: array<f32>;
#else
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
#endif
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
#endif
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

// Four neighbours of `row` from `col` on; zero past the edge.
#ifdef VEC4
fn load_b(row: u32, col: u32) -> vec4<f32> {
    return b[(row * p.n + min(col, p.n - 4u)) / 4u];
}
#else
fn load_b(row: u32, col: u32) -> vec4<f32> {
    let at = row * p.n;
    let last = p.n - 1u;
    let c = vec4(col) + vec4(0u, 1u, 2u, 3u);
    let v = vec4(b[at + min(c.x, last)], b[at + min(c.y, last)], b[at + min(c.z, last)], b[at + min(c.w, last)]);
    return select(vec4<f32>(), v, (c <= vec4(last)) & vec4(row < p.k));
}
#endif

#ifdef TN
// Elements row .. row + 3 of column-major a at k; anything past the edge (such rows are not stored).
#ifdef VEC4
fn load_a(row: u32, k: u32) -> vec4<f32> {
    return a[(k * p.m + min(row, p.m - 4u)) / 4u];
}
#else
fn load_a(row: u32, k: u32) -> vec4<f32> {
    let at = k * p.m;
    let last = p.m - 1u;
    return vec4(a[at + min(row, last)], a[at + min(row + 1u, last)], a[at + min(row + 2u, last)], a[at + min(row + 3u, last)]);
}
#endif
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * 16u;
    let col = (group.x * WG + lane) * 4u;
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    var c4 = vec4<f32>();
    var c5 = vec4<f32>();
    var c6 = vec4<f32>();
    var c7 = vec4<f32>();
    var c8 = vec4<f32>();
    var c9 = vec4<f32>();
    var c10 = vec4<f32>();
    var c11 = vec4<f32>();
    var c12 = vec4<f32>();
    var c13 = vec4<f32>();
    var c14 = vec4<f32>();
    var c15 = vec4<f32>();
#ifdef NN
    let r0 = min(row + 0u, p.m - 1u) * p.k;
    let r1 = min(row + 1u, p.m - 1u) * p.k;
    let r2 = min(row + 2u, p.m - 1u) * p.k;
    let r3 = min(row + 3u, p.m - 1u) * p.k;
    let r4 = min(row + 4u, p.m - 1u) * p.k;
    let r5 = min(row + 5u, p.m - 1u) * p.k;
    let r6 = min(row + 6u, p.m - 1u) * p.k;
    let r7 = min(row + 7u, p.m - 1u) * p.k;
    let r8 = min(row + 8u, p.m - 1u) * p.k;
    let r9 = min(row + 9u, p.m - 1u) * p.k;
    let r10 = min(row + 10u, p.m - 1u) * p.k;
    let r11 = min(row + 11u, p.m - 1u) * p.k;
    let r12 = min(row + 12u, p.m - 1u) * p.k;
    let r13 = min(row + 13u, p.m - 1u) * p.k;
    let r14 = min(row + 14u, p.m - 1u) * p.k;
    let r15 = min(row + 15u, p.m - 1u) * p.k;
    for (var k = 0u; k < p.k; k++) {
        let b0 = load_b(k, col);
        c0 = fma(vec4(a[r0 + k]), b0, c0);
        c1 = fma(vec4(a[r1 + k]), b0, c1);
        c2 = fma(vec4(a[r2 + k]), b0, c2);
        c3 = fma(vec4(a[r3 + k]), b0, c3);
        c4 = fma(vec4(a[r4 + k]), b0, c4);
        c5 = fma(vec4(a[r5 + k]), b0, c5);
        c6 = fma(vec4(a[r6 + k]), b0, c6);
        c7 = fma(vec4(a[r7 + k]), b0, c7);
        c8 = fma(vec4(a[r8 + k]), b0, c8);
        c9 = fma(vec4(a[r9 + k]), b0, c9);
        c10 = fma(vec4(a[r10 + k]), b0, c10);
        c11 = fma(vec4(a[r11 + k]), b0, c11);
        c12 = fma(vec4(a[r12 + k]), b0, c12);
        c13 = fma(vec4(a[r13 + k]), b0, c13);
        c14 = fma(vec4(a[r14 + k]), b0, c14);
        c15 = fma(vec4(a[r15 + k]), b0, c15);
    }
#else
    for (var k = 0u; k < p.k; k++) {
        let b0 = load_b(k, col);
        let a0 = load_a(row + 0u, k);
        c0 = fma(vec4(a0.x), b0, c0);
        c1 = fma(vec4(a0.y), b0, c1);
        c2 = fma(vec4(a0.z), b0, c2);
        c3 = fma(vec4(a0.w), b0, c3);
        let a1 = load_a(row + 4u, k);
        c4 = fma(vec4(a1.x), b0, c4);
        c5 = fma(vec4(a1.y), b0, c5);
        c6 = fma(vec4(a1.z), b0, c6);
        c7 = fma(vec4(a1.w), b0, c7);
        let a2 = load_a(row + 8u, k);
        c8 = fma(vec4(a2.x), b0, c8);
        c9 = fma(vec4(a2.y), b0, c9);
        c10 = fma(vec4(a2.z), b0, c10);
        c11 = fma(vec4(a2.w), b0, c11);
        let a3 = load_a(row + 12u, k);
        c12 = fma(vec4(a3.x), b0, c12);
        c13 = fma(vec4(a3.y), b0, c13);
        c14 = fma(vec4(a3.z), b0, c14);
        c15 = fma(vec4(a3.w), b0, c15);
    }
#endif
    // The bounds are data, so that drivers do not unroll this into 64 copies.
    var c = array<vec4<f32>, 16>(c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15);
    let rows = min(16u, p.m - min(row, p.m));
    let cols = min(4u, p.n - min(col, p.n));
    for (var r = 0u; r < rows; r++) {
        for (var i = 0u; i < cols; i++) {
            store(row + r, col + i, c[r][i]);
        }
    }
}
