//! Reads the import section of a wasm module.
//! The format: <https://webassembly.github.io/spec/core/binary/modules.html>.

use anyhow::{Context, Result, bail};

const HEADER: &[u8] = b"\0asm\x01\0\0\0";
const IMPORT_SECTION: u8 = 2;

/// One import: what is asked for, and from which module.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    /// For example `env`.
    pub module: String,
    /// For example `memory`.
    pub name: String,
}

/// All imports of a module.
pub fn imports(wasm: &[u8]) -> Result<Vec<Import>> {
    let Some(sections) = wasm.strip_prefix(HEADER) else {
        bail!("not a wasm module");
    };
    let mut reader = Reader(sections);
    while !reader.0.is_empty() {
        let id = reader.byte()?;
        let size = reader.number()?;
        let body = reader.bytes(size)?;
        if id == IMPORT_SECTION {
            return import_section(Reader(body)).context("the import section is broken");
        }
    }
    Ok(Vec::new())
}

fn import_section(mut reader: Reader) -> Result<Vec<Import>> {
    let count = reader.number()?;
    let mut imports = Vec::new();
    for _ in 0..count {
        imports.push(Import {
            module: reader.name()?,
            name: reader.name()?,
        });
        match reader.byte()? {
            0 => drop(reader.number()?), // a function: its type
            1 => {
                reader.value_type()?; // a table: what it holds and how much
                reader.limits()?;
            }
            2 => reader.limits()?, // a memory
            3 => {
                reader.value_type()?; // a global: its type and whether it can change
                reader.byte()?;
            }
            4 => {
                reader.byte()?; // a tag: an attribute and its type
                reader.number()?;
            }
            kind => bail!("unknown kind of import: {kind}"),
        }
    }
    Ok(imports)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8> {
        Ok(self.bytes(1)?[0])
    }

    fn bytes(&mut self, count: u64) -> Result<&'a [u8]> {
        let count = usize::try_from(count)?;
        let Some((bytes, rest)) = self.0.split_at_checked(count) else {
            bail!("the module is cut off");
        };
        self.0 = rest;
        Ok(bytes)
    }

    /// An unsigned LEB128 number.
    fn number(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        bail!("a number is too long")
    }

    fn name(&mut self) -> Result<String> {
        let length = self.number()?;
        Ok(String::from_utf8(self.bytes(length)?.to_vec())?)
    }

    fn value_type(&mut self) -> Result<()> {
        const TYPED_REFERENCES: [u8; 2] = [0x63, 0x64];
        if TYPED_REFERENCES.contains(&self.byte()?) {
            self.number()?;
        }
        Ok(())
    }

    fn limits(&mut self) -> Result<()> {
        const HAS_MAXIMUM: u64 = 1;
        let flags = self.number()?;
        self.number()?;
        if flags & HAS_MAXIMUM != 0 {
            self.number()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(sections: &[&[u8]]) -> Vec<u8> {
        [HEADER, &sections.concat()].concat()
    }

    #[test]
    fn every_kind_of_import_is_read() {
        let body = [
            b"\x05".as_slice(),
            b"\x01a\x01f\x00\x07",             // function of type 7
            b"\x01a\x01t\x01\x6f\x01\x00\x05", // table of externref, 0..5
            b"\x03env\x06memory\x02\x00\x11",  // memory, at least 17 pages
            b"\x01a\x01g\x03\x7f\x01",         // mutable i32
            b"\x01b\x01e\x04\x00\x03",         // tag of type 3
        ]
        .concat();
        let section = [
            &[IMPORT_SECTION, u8::try_from(body.len()).unwrap()],
            body.as_slice(),
        ]
        .concat();
        let found = imports(&module(&[b"\x01\x01\x00", &section, b"\x0a\x01\x00"])).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|i| (i.module.as_str(), i.name.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("a", "f"),
                ("a", "t"),
                ("env", "memory"),
                ("a", "g"),
                ("b", "e")
            ]
        );
    }

    #[test]
    fn long_numbers_are_read() {
        let name = "n".repeat(200);
        let body = [
            b"\x01\xc8\x01".as_slice(),
            name.as_bytes(),
            b"\x01x\x00\x80\x01",
        ]
        .concat();
        let size = [
            u8::try_from(body.len() & 0x7f).unwrap() | 0x80,
            u8::try_from(body.len() >> 7).unwrap(),
        ];
        let section = [&[IMPORT_SECTION], size.as_slice(), &body].concat();
        assert_eq!(imports(&module(&[&section])).unwrap()[0].module, name);
    }

    #[test]
    fn a_module_without_imports_has_none() {
        assert_eq!(imports(&module(&[b"\x0a\x01\x00"])).unwrap(), []);
    }

    #[test]
    fn broken_modules_are_refused() {
        assert!(imports(b"#!/bin/sh").is_err());
        assert!(imports(&module(&[b"\x02\x7f"])).is_err());
        assert!(imports(&module(&[b"\x02\x03\x01\x01a"])).is_err());
        assert!(
            imports(&module(&[
                b"\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
            ]))
            .is_err()
        );
    }
}
