//! Tests of `image`: small vectors made by Pillow 13.0, and the fixture.

use super::*;
use crate::platform::read_file;

/// A picture by a formula, the same as in the script that made the vectors.
fn formula(width: usize, height: usize) -> Rgb {
    let value = |i: usize| {
        let (x, y, c) = (i / 3 % width, i / 3 / width, i % 3);
        ((x * 37 + y * 91 + c * 53 + x * y * 7) % 256) as u8
    };
    Rgb { width, height, data: (0..width * height * 3).map(value).collect() }
}

#[test]
fn resizing_is_pillows() {
    let cases: [(usize, usize, usize, usize, &[u8]); 5] = [
        (
            5,
            7,
            4,
            3,
            &[
                84, 123, 140, 111, 139, 149, 137, 125, 128, 101, 127, 186, 109, 148, 118, 143, 119, 134, 128, 150, 129,
                166, 123, 148, 106, 163, 124, 114, 148, 132, 115, 147, 88, 139, 104, 135,
            ],
        ),
        (
            3,
            2,
            5,
            5,
            &[
                0, 41, 94, 2, 55, 107, 27, 80, 133, 53, 106, 175, 67, 120, 200, 6, 56, 109, 17, 70, 124, 43, 96, 149,
                70, 123, 165, 84, 137, 172, 44, 96, 149, 58, 111, 170, 86, 139, 192, 115, 168, 137, 130, 183, 98, 82,
                135, 188, 98, 151, 215, 129, 182, 235, 159, 212, 109, 175, 228, 24, 97, 150, 203, 113, 166, 232, 145,
                198, 251, 176, 229, 99, 192, 245, 0,
            ],
        ),
        (
            13,
            4,
            3,
            4,
            &[
                76, 129, 169, 123, 118, 128, 112, 165, 116, 134, 138, 132, 116, 135, 149, 113, 117, 137, 133, 126, 120,
                130, 131, 135, 135, 128, 122, 120, 144, 150, 144, 127, 115, 127, 151, 148,
            ],
        ),
        (
            4,
            17,
            4,
            2,
            &[
                105, 138, 135, 124, 119, 126, 134, 140, 141, 127, 131, 121, 151, 126, 125, 137, 126, 123, 131, 109,
                125, 137, 121, 139,
            ],
        ),
        (40, 30, 3, 2, &[127, 130, 127, 127, 127, 127, 126, 127, 128, 125, 131, 128, 127, 133, 126, 129, 131, 123]),
    ];
    for (w, h, to_w, to_h, expected) in cases {
        assert_eq!(resize(&formula(w, h), to_w, to_h).data, expected, "{w}x{h} to {to_w}x{to_h}");
    }
    assert_eq!(resize(&formula(6, 4), 6, 4), formula(6, 4));
}

#[test]
fn padding_is_centred_on_the_mean_colour() {
    let expected = [
        74, 109, 138, 120, 137, 156, 134, 159, 139, 139, 143, 131, 123, 116, 130, 108, 147, 138, 137, 126, 116, 119,
        123, 133, 132, 138, 128,
    ];
    assert_eq!(resize_padded(&formula(6, 3), [127; 3], 3).data, expected);
    let pixels = Preprocess { fit: Fit::Pad, ..Preprocess::new(3) }.pixels(&formula(6, 3));
    assert_eq!(pixels.len(), 27);
    // the second number is the red of the second pixel
    assert!((pixels[1] - (120.0 / 127.5 - 1.0)).abs() < 1e-6);
}

#[test]
fn decoding_drops_transparency_and_repeats_grey() {
    // 2x1 px: grey with alpha (10 at 0, 200 at 128), and a palette whose first colour (9, 8, 7) is transparent
    let grey_alpha = [
        137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 2, 0, 0, 0, 1, 8, 4, 0, 0, 0, 94, 43,
        183, 1, 0, 0, 0, 13, 73, 68, 65, 84, 120, 156, 99, 224, 98, 56, 209, 0, 0, 2, 61, 1, 83, 113, 203, 181, 154, 0,
        0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130,
    ];
    assert_eq!(decode(&grey_alpha, "a", None).unwrap().data, [10, 10, 10, 200, 200, 200]);
    let palette = [
        137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 2, 0, 0, 0, 1, 1, 3, 0, 0, 0, 206, 236,
        237, 201, 0, 0, 0, 6, 80, 76, 84, 69, 9, 8, 7, 100, 110, 120, 197, 177, 71, 164, 0, 0, 0, 1, 116, 82, 78, 83,
        0, 64, 230, 216, 102, 0, 0, 0, 10, 73, 68, 65, 84, 120, 156, 99, 112, 0, 0, 0, 66, 0, 65, 41, 55, 244, 239, 0,
        0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130,
    ];
    assert_eq!(decode(&palette, "p", None).unwrap().data, [9, 8, 7, 100, 110, 120]);
    // on white: nothing of the grey at alpha 0, half of the one at 128
    let white = Some([255; 3]);
    assert_eq!(decode(&grey_alpha, "a", white).unwrap().data, [255, 255, 255, 227, 227, 227]);
    assert_eq!(decode(&palette, "p", white).unwrap().data, [255, 255, 255, 100, 110, 120]);
    let error = decode(b"not a picture", "cat.png", None).unwrap_err().to_string();
    assert!(error.contains("cat.png") && error.contains("PNG, JPEG or WebP"), "{error}");
}

#[test]
fn agrees_with_the_fixture() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/preprocessing");
    let io = read_file(&folder.join("io.safetensors")).unwrap();
    let prepare: Preprocess = serde_json::from_slice(&read_file(&folder.join("config.json")).unwrap()).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&io).unwrap();
    for (name, tensor) in tensors.tensors() {
        let file = format!("{}.png", name.trim_start_matches("out."));
        let pixels = prepare.decode(&read_file(&folder.join(&file)).unwrap(), &file).unwrap();
        let expected: Vec<f32> = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(pixels.len(), expected.len(), "{file}");
        let worst = pixels.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{file}: {worst}");
    }
}
