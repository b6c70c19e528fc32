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

/// Vectors of Pillow 13.0.
#[test]
fn every_filter_is_pillows() {
    let hex = |picture: &Rgb| picture.data.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for (filter, from, [width, height], want) in [
        (Filter::Nearest, [7, 5], [3, 2], "87bcf1df1449376ca14b80b5bff42933689d"),
        (
            Filter::Nearest,
            [3, 4],
            [4, 6],
            "00356a255a8f255a8f4a7fb45b90c587bcf187bcf1b3e81d5b90c587bcf187bcf1b3e81db6eb20e91e53e91e531c5186b6eb20e91e53e91e531c518611467b4b80b54b80b585baef",
        ),
        (Filter::Lanczos, [7, 5], [3, 2], "657f8b798896888380828a7d8d898698857d"),
        (
            Filter::Lanczos,
            [3, 4],
            [4, 6],
            "002e5c0b3b683160a33e73c91c4da02975ca67b2a98fc16075aeae93a8edacc194a5de06b8ff2cf9794ca5256a1965655d9f3e8e5e547e4da23d7fd2002f851560a367b2e098caf8",
        ),
        (Filter::Bilinear, [7, 5], [3, 2], "69858f7d819085867f7c87828b8c8697847d"),
        (
            Filter::Bilinear,
            [3, 4],
            [4, 6],
            "00356a174c8133689d4a7fb42e6398477cb1669ba07fb4696a9fa987a1c699b3989acf2fa7dc3cc6765b9b4b70356a7464994e866b707f64995186bb11467b356a9f6196cb85baef",
        ),
        (Filter::Bicubic, [7, 5], [3, 2], "66828d7a849488857f7e897e8c8a889a847c"),
        (
            Filter::Bicubic,
            [3, 4],
            [4, 6],
            "002d620f44782e639f457ac125589d3b7abe65a4a587bb626ba2b388a6dfa2c09da6dd16b3f52de2704da4326b1f6173619d438c636481589c4683c803377e2566a161a2d690c4f9",
        ),
        (Filter::Box, [7, 5], [3, 2], "717c866d869ea382625e9388a2828c91867b"),
        (
            Filter::Box,
            [3, 4],
            [4, 6],
            "00356a255a8f255a8f4a7fb45b90c587bcf187bcf1b3e81d5b90c587bcf187bcf1b3e81db6eb20e91e53e91e531c518611467b4b80b54b80b585baef11467b4b80b54b80b585baef",
        ),
        (Filter::Hamming, [7, 5], [3, 2], "65859982788e84867b7388808f918593867a"),
        (
            Filter::Hamming,
            [3, 4],
            [4, 6],
            "00356a1c51862e63984a7fb42e63984d82b76095ac7fb4695e93c080afe292c1bcafe420b3e825da514cb82f6220558364994e8d6077895c915186bb11467b3d72a7598ec385baef",
        ),
    ] {
        let made = resize_ranges(&formula(from[0], from[1]), [width, height], [0..width, 0..height], filter);
        assert_eq!(hex(&made), want, "{filter:?} {from:?}");
    }
    // The shorter side, then the centre, as CLIP's processor does it.
    for (from, resize, image_size, filter, want) in [
        ([9, 5], 4, 3, Filter::Bicubic, "828bac7bafc9b09c4a925b5e416d9c7d8c7779c28bc37d887d8981"),
        ([5, 40], 3, 3, Filter::Bilinear, "568b6382786e8d659a729a866290739a868469678a8a6d86887472"),
        ([6, 6], 4, 2, Filter::Lanczos, "7f797c797189938b949b9c8b"),
        ([30, 4], 3, 3, Filter::Bicubic, "c79a4165584a4b54904e8c8da4d775c87143578e5d336cbb96c88a"),
    ] {
        let how = Preprocess { fit: Fit::Crop, resize: Some(resize), filter, ..Preprocess::new(image_size) };
        assert_eq!(hex(&how.square(&formula(from[0], from[1]))), want, "{filter:?} {from:?}");
    }
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
