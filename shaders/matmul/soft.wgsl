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
// | 1 | a        | read    | array<vec4<f32>> | see above     |
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
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
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
    return select(vec4<f32>(), v, c <= vec4(last) & vec4(row < p.k));
}
#endif

#ifdef NN
// Elements k .. k + 3 of row `row` of a; zero past the end.
#ifdef VEC4
fn load_a(row: u32, k: u32) -> vec4<f32> {
    return a[(min(row, p.m - 1u) * p.k + k) / 4u];
}
#else
fn load_a(row: u32, k: u32) -> vec4<f32> {
    let at = min(row, p.m - 1u) * p.k;
    let last = p.k - 1u;
    let c = vec4(k) + vec4(0u, 1u, 2u, 3u);
    let v = vec4(a[at + min(c.x, last)], a[at + min(c.y, last)], a[at + min(c.z, last)], a[at + min(c.w, last)]);
    return select(vec4<f32>(), v, c <= vec4(last));
}
#endif
#else
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
    for (var k = 0u; k < p.k; k += 4u) {
        let last = p.k - 1u;
        let b0 = load_b(k, col);
#ifdef VEC4
        let b1 = load_b(k + 1u, col);
        let b2 = load_b(k + 2u, col);
        let b3 = load_b(k + 3u, col);
#else
        let b1 = load_b(min(k + 1u, last), col);
        let b2 = load_b(min(k + 2u, last), col);
        let b3 = load_b(min(k + 3u, last), col);
#endif
        let a0 = load_a(row + 0u, k);
        c0 = fma(vec4(a0.w), b3, fma(vec4(a0.z), b2, fma(vec4(a0.y), b1, fma(vec4(a0.x), b0, c0))));
        let a1 = load_a(row + 1u, k);
        c1 = fma(vec4(a1.w), b3, fma(vec4(a1.z), b2, fma(vec4(a1.y), b1, fma(vec4(a1.x), b0, c1))));
        let a2 = load_a(row + 2u, k);
        c2 = fma(vec4(a2.w), b3, fma(vec4(a2.z), b2, fma(vec4(a2.y), b1, fma(vec4(a2.x), b0, c2))));
        let a3 = load_a(row + 3u, k);
        c3 = fma(vec4(a3.w), b3, fma(vec4(a3.z), b2, fma(vec4(a3.y), b1, fma(vec4(a3.x), b0, c3))));
        let a4 = load_a(row + 4u, k);
        c4 = fma(vec4(a4.w), b3, fma(vec4(a4.z), b2, fma(vec4(a4.y), b1, fma(vec4(a4.x), b0, c4))));
        let a5 = load_a(row + 5u, k);
        c5 = fma(vec4(a5.w), b3, fma(vec4(a5.z), b2, fma(vec4(a5.y), b1, fma(vec4(a5.x), b0, c5))));
        let a6 = load_a(row + 6u, k);
        c6 = fma(vec4(a6.w), b3, fma(vec4(a6.z), b2, fma(vec4(a6.y), b1, fma(vec4(a6.x), b0, c6))));
        let a7 = load_a(row + 7u, k);
        c7 = fma(vec4(a7.w), b3, fma(vec4(a7.z), b2, fma(vec4(a7.y), b1, fma(vec4(a7.x), b0, c7))));
        let a8 = load_a(row + 8u, k);
        c8 = fma(vec4(a8.w), b3, fma(vec4(a8.z), b2, fma(vec4(a8.y), b1, fma(vec4(a8.x), b0, c8))));
        let a9 = load_a(row + 9u, k);
        c9 = fma(vec4(a9.w), b3, fma(vec4(a9.z), b2, fma(vec4(a9.y), b1, fma(vec4(a9.x), b0, c9))));
        let a10 = load_a(row + 10u, k);
        c10 = fma(vec4(a10.w), b3, fma(vec4(a10.z), b2, fma(vec4(a10.y), b1, fma(vec4(a10.x), b0, c10))));
        let a11 = load_a(row + 11u, k);
        c11 = fma(vec4(a11.w), b3, fma(vec4(a11.z), b2, fma(vec4(a11.y), b1, fma(vec4(a11.x), b0, c11))));
        let a12 = load_a(row + 12u, k);
        c12 = fma(vec4(a12.w), b3, fma(vec4(a12.z), b2, fma(vec4(a12.y), b1, fma(vec4(a12.x), b0, c12))));
        let a13 = load_a(row + 13u, k);
        c13 = fma(vec4(a13.w), b3, fma(vec4(a13.z), b2, fma(vec4(a13.y), b1, fma(vec4(a13.x), b0, c13))));
        let a14 = load_a(row + 14u, k);
        c14 = fma(vec4(a14.w), b3, fma(vec4(a14.z), b2, fma(vec4(a14.y), b1, fma(vec4(a14.x), b0, c14))));
        let a15 = load_a(row + 15u, k);
        c15 = fma(vec4(a15.w), b3, fma(vec4(a15.z), b2, fma(vec4(a15.y), b1, fma(vec4(a15.x), b0, c15))));
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
    for (var i = 0u; i < 4u; i++) {
        store(row + 0u, col + i, c0[i]);
        store(row + 1u, col + i, c1[i]);
        store(row + 2u, col + i, c2[i]);
        store(row + 3u, col + i, c3[i]);
        store(row + 4u, col + i, c4[i]);
        store(row + 5u, col + i, c5[i]);
        store(row + 6u, col + i, c6[i]);
        store(row + 7u, col + i, c7[i]);
        store(row + 8u, col + i, c8[i]);
        store(row + 9u, col + i, c9[i]);
        store(row + 10u, col + i, c10[i]);
        store(row + 11u, col + i, c11[i]);
        store(row + 12u, col + i, c12[i]);
        store(row + 13u, col + i, c13[i]);
        store(row + 14u, col + i, c14[i]);
        store(row + 15u, col + i, c15[i]);
    }
}
