//! Tests of pictures out of files: against the library's own conversions, which take more memory.

use ::image::{DynamicImage, GrayAlphaImage, GrayImage, RgbImage, RgbaImage};

use super::*;

fn noise(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (splitmix64(i) >> 40) as u8).collect()
}

#[test]
fn every_kind_becomes_what_the_library_makes_of_it() {
    let (w, h) = (7, 5);
    let n = 35;
    let kinds: [DynamicImage; 4] = [
        GrayImage::from_raw(w, h, noise(n)).unwrap().into(),
        GrayAlphaImage::from_raw(w, h, noise(n * 2)).unwrap().into(),
        RgbImage::from_raw(w, h, noise(n * 3)).unwrap().into(),
        RgbaImage::from_raw(w, h, noise(n * 4)).unwrap().into(),
    ];
    let deep_kinds = [ColorType::L16, ColorType::La16, ColorType::Rgb16, ColorType::Rgba16];
    for (picture, deep_kind) in kinds.into_iter().zip(deep_kinds) {
        let colour = picture.color();
        // The upper byte of each, which is what Pillow takes, and anything below.
        let deep: Vec<u8> =
            picture.as_bytes().iter().flat_map(|b| (u16::from(*b) << 8 | u16::from(*b ^ 0xa5)).to_ne_bytes()).collect();
        let made = |background| {
            let same = in_colour(picture.as_bytes().to_vec(), colour, n, background).unwrap();
            assert_eq!(in_colour(deep.clone(), deep_kind, n, background).unwrap(), same, "{deep_kind:?}");
            same
        };
        assert_eq!(made(None), picture.to_rgb8().into_raw(), "{colour:?}");
        let rgba = picture.to_rgba8();
        let over = |p: &::image::Rgba<u8>| mixed([p.0[0], p.0[1], p.0[2]], p.0[3], [9, 200, 255]);
        let want: Vec<u8> = rgba.pixels().flat_map(over).collect();
        assert_eq!(made(Some([9, 200, 255])), want, "{colour:?}");
    }
    assert_eq!(mixed([10, 20, 30], 255, [1, 2, 3]), [10, 20, 30]);
    assert_eq!(mixed([10, 20, 30], 0, [1, 2, 3]), [1, 2, 3]);
}

#[test]
fn every_orientation_is_as_the_library_turns_it() {
    for (w, h) in [(7, 5), (1, 4), (4, 4), (4100, 4200)] {
        let picture = RgbImage::from_raw(w, h, noise((w * h * 3) as usize)).unwrap();
        for number in 1..=8 {
            let orientation = Orientation::from_exif(number).unwrap();
            // The large one is turned in its place, which its copy is not.
            if w > 1000 && number < 5 {
                continue;
            }
            let (width, height) = (w as usize, h as usize);
            let made = turned(Rgb { width, height, data: picture.as_raw().clone() }, orientation);
            let mut want = DynamicImage::from(picture.clone());
            want.apply_orientation(orientation);
            assert_eq!((made.width as u32, made.height as u32), (want.width(), want.height()), "{number}");
            assert!(made.data == want.into_rgb8().into_raw(), "{w}x{h} {number}");
        }
        // As larger ones are turned.
        let mut pixels = picture.as_raw().as_chunks::<3>().0.to_vec();
        transpose_in_place(&mut pixels, w as usize, h as usize);
        let mut want = DynamicImage::from(picture);
        want.apply_orientation(Orientation::Rotate90FlipH);
        assert_eq!(pixels.as_flattened(), want.as_bytes(), "{w}x{h}");
    }
}
