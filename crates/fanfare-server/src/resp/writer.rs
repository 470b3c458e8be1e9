//! Replies as they go over the wire, in both versions of the protocol.

/// The version of the protocol that a connection has chosen with `HELLO`; its number is the version's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// The version that every client speaks, with which a connection begins.
    #[default]
    Resp2 = 2,
    /// Has maps, sets and a null of its own.
    Resp3 = 3,
}

/// Writes replies one behind the other. Aggregates are announced with their length, then their members written.
#[derive(Debug, Default)]
pub struct Writer {
    /// The bytes that were written.
    pub out: Vec<u8>,
    /// The version of the protocol to write.
    pub protocol: Protocol,
}

impl Writer {
    /// A status, such as `OK`. Line ends in it are written as spaces.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// An error; `text` begins with its code, such as `ERR`. Line ends in it are written as spaces.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text);
    }

    /// A number, or the largest that there is.
    pub fn integer(&mut self, value: impl TryInto<i64>) {
        let value = value.try_into().unwrap_or(i64::MAX);
        self.out.push(b':');
        if value < 0 {
            self.out.push(b'-');
        }
        decimal(&mut self.out, value.unsigned_abs());
        self.out.extend_from_slice(b"\r\n");
    }

    /// A string of any bytes.
    pub fn bulk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.length(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A text for people, which the newer version marks as such.
    pub fn text(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.length(b'=', text.len() + 4);
                self.out.extend_from_slice(b"txt:");
                self.out.extend_from_slice(text.as_bytes());
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Nothing.
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// An array of `length` replies.
    pub fn array(&mut self, length: usize) {
        self.length(b'*', length);
    }

    /// A set of `length` replies; an array in the older version.
    pub fn set(&mut self, length: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(length),
            Protocol::Resp3 => self.length(b'~', length),
        }
    }

    /// A map of `length` pairs of replies; the older version has keys and values in turn.
    pub fn map(&mut self, length: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(length * 2),
            Protocol::Resp3 => self.length(b'%', length),
        }
    }

    fn line(&mut self, kind: u8, text: &str) {
        self.out.push(kind);
        let end_free = text
            .bytes()
            .map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte });
        self.out.extend(end_free);
        self.out.extend_from_slice(b"\r\n");
    }

    fn length(&mut self, kind: u8, length: usize) {
        self.out.push(kind);
        decimal(&mut self.out, length as u64);
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Writes `value` in digits, without the formatting machinery: every publication is answered by a number.
fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [b'0'; 20];
    let mut begin = digits.len() - 1;
    while value > 9 {
        digits[begin] += u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
        begin -= 1;
    }
    digits[begin] += u8::try_from(value).unwrap_or_default();
    out.extend_from_slice(&digits[begin..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions() {
        type Write = fn(&mut Writer);
        let cases: &[(Write, &str, &str)] = &[
            (|w| w.simple("OK"), "+OK\r\n", "+OK\r\n"),
            (|w| w.error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
            (|w| w.integer(0), ":0\r\n", ":0\r\n"),
            (|w| w.integer(-20), ":-20\r\n", ":-20\r\n"),
            (
                |w| w.integer(i64::MAX),
                ":9223372036854775807\r\n",
                ":9223372036854775807\r\n",
            ),
            (
                |w| w.integer(i64::MIN),
                ":-9223372036854775808\r\n",
                ":-9223372036854775808\r\n",
            ),
            (|w| w.bulk("hé"), "$3\r\nhé\r\n", "$3\r\nhé\r\n"),
            (|w| w.bulk(""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (|w| w.text("a:1"), "$3\r\na:1\r\n", "=7\r\ntxt:a:1\r\n"),
            (Writer::null, "$-1\r\n", "_\r\n"),
            (|w| w.array(10), "*10\r\n", "*10\r\n"),
            (|w| w.set(2), "*2\r\n", "~2\r\n"),
            (|w| w.map(2), "*4\r\n", "%2\r\n"),
        ];
        for (write, resp2, resp3) in cases {
            for (protocol, expected) in [(Protocol::Resp2, resp2), (Protocol::Resp3, resp3)] {
                let mut writer = Writer {
                    out: Vec::new(),
                    protocol,
                };
                write(&mut writer);
                assert_eq!(String::from_utf8_lossy(&writer.out), *expected);
            }
        }
    }
}
