//! A valid plugin with one more function, small to read and very costly to compile.

use anyhow::Context;

/// Blocks within each other, each ended by a table of jumps out of it.
const DEPTH: u32 = 2000;
/// Locals that differ along every jump.
const LOCALS: u32 = 1000;
/// Jumps of one table.
const JUMPS: u32 = 300;

const TYPES: u8 = 1;
const FUNCTIONS: u8 = 3;
const CODE: u8 = 10;

/// The plugin with the function appended to its type, function and code sections.
pub(crate) fn plant(plugin: &[u8]) -> anyhow::Result<Vec<u8>> {
    let (head, mut rest) = plugin.split_at_checked(8).context("no Wasm")?;
    let mut out = head.to_vec();
    let mut types = 0;
    while let Some((&id, after)) = rest.split_first() {
        let (size, after) = number(after)?;
        let (section, after) = after.split_at_checked(size as usize).context("a section")?;
        rest = after;
        let appended = match id {
            TYPES => {
                types = number(section)?.0;
                append(section, &[0x60, 0, 0])?
            }
            FUNCTIONS => append(section, &leb(types))?,
            CODE => {
                let body = body();
                append(section, &[leb(u32::try_from(body.len())?), body].concat())?
            }
            _ => section.to_vec(),
        };
        out.push(id);
        out.extend(leb(u32::try_from(appended.len())?));
        out.extend(appended);
    }
    Ok(out)
}

/// A vector of the binary format with one more element.
fn append(vector: &[u8], element: &[u8]) -> anyhow::Result<Vec<u8>> {
    let (count, elements) = number(vector)?;
    Ok([&leb(count + 1), elements, element].concat())
}

fn body() -> Vec<u8> {
    // One group of i32 locals, then the blocks.
    let mut code = [vec![1], leb(LOCALS), vec![0x7f]].concat();
    (0..DEPTH).for_each(|_| code.extend([0x02, 0x40]));
    for level in 0..DEPTH {
        for step in 0..8 {
            let to = (level * 8 + step) % LOCALS;
            let from = (to * 7 + 1) % LOCALS;
            // local.get, i32.const 1, i32.add, local.set
            code.push(0x20);
            code.extend(leb(from));
            code.extend([0x41, 1, 0x6a, 0x21]);
            code.extend(leb(to));
        }
        let outer = DEPTH - level - 1;
        let jumps = outer.min(JUMPS);
        // local.get 0, br_table
        code.extend([0x20, 0, 0x0e]);
        code.extend(leb(jumps));
        (0..jumps).for_each(|at| code.extend(leb(at * outer / jumps)));
        code.extend([0, 0x0b]);
    }
    code.push(0x0b);
    code
}

fn leb(mut number: u32) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

fn number(mut bytes: &[u8]) -> anyhow::Result<(u32, &[u8])> {
    let (mut value, mut shift) = (0u32, 0);
    loop {
        let (&byte, rest) = bytes.split_first().context("a number")?;
        bytes = rest;
        value |= u32::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return Ok((value, bytes));
        }
        anyhow::ensure!(shift < 35, "a long number");
    }
}
