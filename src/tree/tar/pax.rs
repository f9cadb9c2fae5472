//! The records of a pax extended header: `LENGTH KEY=VALUE\n`, where the length counts the whole record and the value is any bytes.

/// The prefix of an extended attribute's key.
pub const XATTR: &str = "SCHILY.xattr.";

/// Splits `data` into keys and values. The error says what is wrong.
pub fn records(mut data: &[u8]) -> Result<Vec<(&str, &[u8])>, String> {
    let mut records = Vec::new();
    while !data.is_empty() {
        let space = data.iter().position(|&byte| byte == b' ').ok_or("a record without a length")?;
        let digits = std::str::from_utf8(&data[..space]).map_err(|error| error.to_string())?;
        let length: usize = digits.parse().map_err(|_| format!("a record whose length is {digits:?}"))?;
        if length > data.len() || length < space + 3 {
            return Err(format!("a record of {length} bytes where {} are left", data.len()));
        }
        let (record, rest) = data.split_at(length);
        let body = record[space + 1..].strip_suffix(b"\n").ok_or("a record that does not end with a line feed")?;
        let equals = body.iter().position(|&byte| byte == b'=').ok_or("a record without =")?;
        let key = std::str::from_utf8(&body[..equals]).map_err(|_| "a key that is not UTF-8")?;
        records.push((key, &body[equals + 1..]));
        data = rest;
    }
    Ok(records)
}

/// Adds one record to `out`.
pub fn push(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    // Space, equals sign and line feed; the digits of the length count too.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Whole seconds of a time such as `1700000000.25` or `-0.5`, rounded down.
pub fn seconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let below = whole.starts_with('-') && fraction.bytes().any(|byte| byte != b'0');
    seconds.checked_sub(i64::from(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_back() {
        for size in [0, 1, 80, 82, 83, 84, 85, 900, 980, 990, 10_000] {
            let value = vec![b'\n'; size];
            let mut out = Vec::new();
            push(&mut out, "SCHILY.xattr.user.x", &value);
            push(&mut out, "path", b"a=b");
            assert_eq!(records(&out).unwrap(), [("SCHILY.xattr.user.x", &value[..]), ("path", &b"a=b"[..])]);
        }
    }

    #[test]
    fn what_is_no_record() {
        for bad in
            [&b"x"[..], b"x y=z\n", b"9 y=z\n", b"5 y=z\n", b"6 y=z ", b"6 yyz\n", b"1 y=z\n", b"18446744073709551615 y=z\n"]
        {
            assert!(records(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times() {
        for (text, needed) in
            [("0", Some(0)), ("17.9", Some(17)), ("-0.5", Some(-1)), ("-2.0", Some(-2)), ("1e3", None), ("", None)]
        {
            assert_eq!(seconds(text.as_bytes()), needed, "{text}");
        }
    }
}
