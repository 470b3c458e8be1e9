//! Replies as they go over the wire, in both versions of the protocol.

/// The version of the protocol that a connection has chosen with `HELLO`; its number is the version's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// The version that every client speaks, with which a connection begins.
    #[default]
    Resp2 = 2,
    /// The version with maps, sets and a null.
    Resp3 = 3,
}

/// Writes replies one behind the other. The length of an aggregate is written first, then its members.
#[derive(Debug, Default)]
pub struct Writer {
    /// The bytes that were written.
    pub out: Vec<u8>,
    /// The version of the protocol to write.
    pub protocol: Protocol,
}

impl Writer {
    /// Writes a status, such as `OK`, with spaces in place of line ends.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// Writes an error with spaces in place of line ends; `text` begins with its code, such as `ERR`.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text);
    }

    /// Writes a number; one above the largest as the largest.
    pub fn integer(&mut self, value: impl TryInto<i64>) {
        self.number(b':', value.try_into().unwrap_or(i64::MAX));
    }

    /// Writes a string of any bytes.
    pub fn bulk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.number(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes a text for people, which the newer version marks as such.
    pub fn text(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.number(b'=', text.len() + 4);
                self.out.extend_from_slice(b"txt:");
                self.out.extend_from_slice(text.as_bytes());
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Writes a null.
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Begins an array of `length` replies.
    pub fn array(&mut self, length: usize) {
        self.number(b'*', length);
    }

    /// Begins a set of `length` replies; an array in the older version.
    pub fn set(&mut self, length: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(length),
            Protocol::Resp3 => self.number(b'~', length),
        }
    }

    /// Begins a map of `length` pairs of replies; an array of keys and values in turn in the older version.
    pub fn map(&mut self, length: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(length * 2),
            Protocol::Resp3 => self.number(b'%', length),
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

    fn number(&mut self, kind: u8, number: impl itoa::Integer) {
        self.out.push(kind);
        let mut digits = itoa::Buffer::new();
        self.out.extend_from_slice(digits.format(number).as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }
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
