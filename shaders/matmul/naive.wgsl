// matmul/naive: one invocation per element of y; the plainest kernel, kept as the second oracle of the others.
//
//   nt: y = a bᵀ     a (M, K), b (N, K)         nn: y = a b     a (M, K), b (K, N)
//   tn: y = aᵀ b     a (K, M), b (K, N)         then + bias, + residual, + old y by override
//
// | @ | name     | access  | type       | shape            |
// |---|----------|---------|------------|------------------|
// | 0 | p        | uniform | Params     |                  |
// | 1 | a        | read    | array<f32> | see above        |
// | 2 | b        | read    | array<f32> | see above        |
// | 3 | bias     | read    | array<f32> | (N), if BIAS     |
// | 4 | residual | read    | array<f32> | (M, N), if RESIDUAL |
// | 5 | y        | dest    | array<f32> | (M, N)           |
//
// grid: (ceil(N / 8), ceil(M / 8)).   overrides: BIAS, RESIDUAL, ACCUMULATE
#import params
#import epilogue

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = min(id.y, p.m - 1u);
    let col = min(id.x, p.n - 1u);
    var sum = 0.0;
    for (var k = 0u; k < p.k; k++) {
#ifdef NT
        sum = fma(a[row * p.k + k], b[col * p.k + k], sum);
#endif
#ifdef NN
        sum = fma(a[row * p.k + k], b[k * p.n + col], sum);
#endif
#ifdef TN
        sum = fma(a[k * p.m + row], b[k * p.n + col], sum);
#endif
    }
    store(id.y, id.x, sum);
}
