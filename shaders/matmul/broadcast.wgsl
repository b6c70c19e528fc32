// matmul/broadcast: matmul/soft for CPU drivers with subgroups of 8. A workgroup is one subgroup: its lanes load two elements
// of a row of a each and hand them round, so that no address is computed twice. The launcher transposes for other orders.
//
//   y = aᵀ b     a (K, M), b (K, N), N a multiple of 4
//
// | @ | name     | access  | type             | shape               |
// |---|----------|---------|------------------|---------------------|
// | 0 | p        | uniform | Params           |                     |
// | 1 | a        | read    | array<f32>       | see above           |
// | 2 | b        | read    | array<vec4<f32>> | see above           |
// | 3 | bias     | read    | array<f32>       | (N), if BIAS        |
// | 4 | residual | read    | array<f32>       | (M, N), if RESIDUAL |
// | 5 | y        | dest    | array<f32>       | (M, N)              |
//
// grid: (ceil(N / 32), ceil(M / 16)).   overrides: BIAS, RESIDUAL, ACCUMULATE
#import params
#import epilogue

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * 16u;
    let col = group.x * 32u + lane * 4u;
    // Lanes past the edge compute with the last columns and store nothing.
    let from_b = min(col, p.n - 4u) / 4u;
    let n4 = p.n / 4u;
    var c0 = vec4<f32>(); var c1 = vec4<f32>();
    var c2 = vec4<f32>(); var c3 = vec4<f32>();
    var c4 = vec4<f32>(); var c5 = vec4<f32>();
    var c6 = vec4<f32>(); var c7 = vec4<f32>();
    var c8 = vec4<f32>(); var c9 = vec4<f32>();
    var c10 = vec4<f32>(); var c11 = vec4<f32>();
    var c12 = vec4<f32>(); var c13 = vec4<f32>();
    var c14 = vec4<f32>(); var c15 = vec4<f32>();
    let low = min(row + lane, p.m - 1u);
    let high = min(row + 8u + lane, p.m - 1u);
    for (var k = 0u; k < p.k; k++) {
        let a0 = a[k * p.m + low];
        let a1 = a[k * p.m + high];
        let b0 = b[k * n4 + from_b];
        c0 = fma(vec4(subgroupBroadcast(a0, 0u)), b0, c0); c1 = fma(vec4(subgroupBroadcast(a0, 1u)), b0, c1);
        c2 = fma(vec4(subgroupBroadcast(a0, 2u)), b0, c2); c3 = fma(vec4(subgroupBroadcast(a0, 3u)), b0, c3);
        c4 = fma(vec4(subgroupBroadcast(a0, 4u)), b0, c4); c5 = fma(vec4(subgroupBroadcast(a0, 5u)), b0, c5);
        c6 = fma(vec4(subgroupBroadcast(a0, 6u)), b0, c6); c7 = fma(vec4(subgroupBroadcast(a0, 7u)), b0, c7);
        c8 = fma(vec4(subgroupBroadcast(a1, 0u)), b0, c8); c9 = fma(vec4(subgroupBroadcast(a1, 1u)), b0, c9);
        c10 = fma(vec4(subgroupBroadcast(a1, 2u)), b0, c10); c11 = fma(vec4(subgroupBroadcast(a1, 3u)), b0, c11);
        c12 = fma(vec4(subgroupBroadcast(a1, 4u)), b0, c12); c13 = fma(vec4(subgroupBroadcast(a1, 5u)), b0, c13);
        c14 = fma(vec4(subgroupBroadcast(a1, 6u)), b0, c14); c15 = fma(vec4(subgroupBroadcast(a1, 7u)), b0, c15);
    }
    var c = array<vec4<f32>, 16>(c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15);
    // The bounds are data, so that drivers do not unroll this into 64 copies.
    let rows = min(16u, p.m - min(row, p.m));
    let cols = min(4u, p.n - min(col, p.n));
    for (var r = 0u; r < rows; r++) {
        for (var i = 0u; i < cols; i++) {
            store(row + r, col + i, c[r][i]);
        }
    }
}
