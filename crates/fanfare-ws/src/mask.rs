//! Masking (RFC 6455, section 5.3).

/// Masks or unmasks `bytes` in place. `key` begins with the byte for the first of them.
pub(crate) fn apply(bytes: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Returns the key for the bytes after the first `taken` ones.
pub(crate) fn after(mut key: [u8; 4], taken: usize) -> [u8; 4] {
    key.rotate_left(taken % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition_at_every_length_and_split() {
        let key = [0x12, 0xF0, 0x00, 0x9C];
        for len in 0..40_usize {
            let plain: Vec<u8> = (0..len).map(|i| u8::try_from(i * 7).unwrap_or(1)).collect();
            let expected: Vec<u8> = plain.iter().enumerate().map(|(i, b)| b ^ key[i % 4]).collect();
            for split in 0..=len {
                let mut masked = plain.clone();
                let (front, back) = masked.split_at_mut(split);
                apply(front, key);
                apply(back, after(key, split));
                assert_eq!(masked, expected, "length {len} split at {split}");
            }
        }
    }
}
