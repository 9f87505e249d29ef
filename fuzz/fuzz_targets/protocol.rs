//! Whatever a client sends is understood or refused, the same however it is cut, in bounded memory, and never panics.
//!
//! ```sh
//! cd fuzz && cargo +nightly fuzz run protocol seeds/protocol
//! ```

#![no_main]

use bytes::Bytes;
use cloudlysis_core::nats::{Limits, Operation, Parser, Violation};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { control_line_bytes_max: 64, payload_bytes_max: 256, ..Limits::DEFAULT };

fn read<'a>(headers: bool, chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Operation>, Option<Violation>) {
    let mut parser = Parser::new(&LIMITS, false);
    parser.accept(headers);
    let mut said = Vec::new();
    for chunk in chunks {
        let mut input = Bytes::copy_from_slice(chunk);
        loop {
            match parser.next(&mut input) {
                Ok(Some(operation)) => said.push(operation),
                Ok(None) => break,
                Err(violation) => return (said, Some(violation)),
            }
        }
        assert!(parser.held() <= LIMITS.payload_bytes_max, "{} bytes held", parser.held());
    }
    (said, None)
}

// The first byte says where to cut and whether there are headers.
fuzz_target!(|input: &[u8]| {
    let Some((first, bytes)) = input.split_first() else { return };
    let (headers, size) = (first & 1 == 1, usize::from(first >> 1) + 1);
    let at_once = read(headers, std::iter::once(bytes));
    assert_eq!(read(headers, bytes.chunks(size)), at_once, "cut into pieces of {size}");
    assert_eq!(read(headers, bytes.chunks(1)), at_once, "cut into bytes");
});
