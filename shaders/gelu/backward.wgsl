// gelu/backward: dx = dy * gelu'(x), the derivative of either form.
//
//   EXACT: Φ(x) + x φ(x)        else: (1 + t)/2 + x/2 (1 - t²) sqrt(2/π) (1 + 3 * 0.044715 x²), t the tanh
//
// | @ | name | access  | type       | shape |
// |---|------|---------|------------|---------|
// | 0 | p    | uniform | Params     | |
// | 1 | dy   | read    | array<f32> | (count) |
// | 2 | x    | read    | array<f32> | (count) |
// | 3 | dx   | write   | array<f32> | (count) |
//
// grid: one invocation per element, folded.   overrides: WG, EXACT
#import params
#import grid
#import erf

override WG: u32 = 64u;
override EXACT: bool = false;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.count {
        let v = x[i];
        if EXACT {
            dx[i] = dy[i] * (0.5 * (1.0 + erf(v * ROOT_HALF)) + v * ROOT_2_PI_INVERSE * exp(-0.5 * v * v));
        } else {
            let t = safe_tanh(ROOT_2_OVER_PI * fma(CUBIC * v * v, v, v));
            let inner = ROOT_2_OVER_PI * fma(3.0 * CUBIC * v, v, 1.0);
            dx[i] = dy[i] * (0.5 * (1.0 + t) + 0.5 * v * (1.0 - t * t) * inner);
        }
    }
}
