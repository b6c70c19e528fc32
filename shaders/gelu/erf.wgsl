// Error function by a rational approximation (Abramowitz and Stegun 7.1.26): absolute error below 2e-7.

fn erf(x: f32) -> f32 {
    let a = abs(x);
    let t = 1.0 / fma(0.3275911, a, 1.0);
    let poly = t * fma(t, fma(t, fma(t, fma(t, 1.061405429, -1.453152027), 1.421413741), -0.284496736), 0.254829592);
    return sign(x) * (1.0 - poly * exp(-a * a));
}

// tanh that does not overflow for large arguments.
fn safe_tanh(x: f32) -> f32 {
    return tanh(clamp(x, -15.0, 15.0));
}

const ROOT_HALF = 0.7071067811865476;
const ROOT_2_OVER_PI = 0.7978845608028654;
const ROOT_2_PI_INVERSE = 0.3989422804014327;
const CUBIC = 0.044715;
