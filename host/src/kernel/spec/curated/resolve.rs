//! A curated hook on this kernel: its fields' paths resolved into the template's [`Spec`].

use krsi_host_abi::hook::Hook;
use krsi_host_abi::spec::{CAPTURES, Capture, ObjectKind, ROOMS, Spec, spec_flag};

use super::{Bits, CuratedObject, CuratedRow, Shape};
use crate::kernel::btf::{KernelTypes, Prototype, Returns};
use crate::kernel::spec::executed::executes;
use crate::kernel::spec::field_path::{self, Captured, FieldKind};

/// A curated hook that this kernel can run.
#[derive(Clone, Debug)]
pub struct CuratedSpec {
    /// Specification that the template program is frozen with.
    pub spec: Spec,
    /// First row of each field, in the order of the contract's record; none where this kernel has no
    /// such field.
    pub places: Vec<Option<usize>>,
    /// Fields that this kernel lacks.
    pub missing: Vec<&'static str>,
}

impl CuratedRow {
    /// Resolves the fields of a hook against the prototype of the function that it is attached to; `own` tells its
    /// calls from others that come there.
    #[must_use]
    pub fn resolve(
        &self,
        types: &KernelTypes,
        prototype: &Prototype,
        own: Option<Bits>,
    ) -> CuratedSpec {
        let mut spec = Spec { slot: u32::from(self.hook.id()), ..Spec::EMPTY };
        let mut places = Vec::with_capacity(self.fields.len());
        let mut missing = Vec::new();
        let (mut row, mut room) = (0usize, 0u16);
        for field in self.fields {
            let paths = field.paths.iter();
            let found = paths
                .filter_map(|path| field_path::resolve(types, prototype, path).ok())
                .find_map(|captured| fits(field.shape, captured));
            let rows = found.unwrap_or_default();
            let texts = u16::from(rows.first().is_some_and(|first| first.takes_room()));
            let full = row + rows.len() > CAPTURES || usize::from(room + texts) > ROOMS;
            if rows.is_empty() || full {
                places.push(None);
                missing.push(field.name);
                continue;
            }
            places.push(Some(row));
            for mut capture in rows {
                if capture.takes_room() {
                    capture.room = room;
                    room += 1;
                }
                if let Some(place) = spec.captures.get_mut(row) {
                    *place = capture;
                }
                row += 1;
            }
        }
        if let Some(gate) = own.and_then(|own| own.rows(types, prototype)) {
            if let Some(place) = spec.captures.get_mut(row) {
                *place = gate;
            }
            row += 1;
            spec.gate_row = u32::try_from(row).unwrap_or(0);
        }
        spec.capture_count = u32::try_from(row).unwrap_or(0);
        self.name_objects(&mut spec, &places);
        if prototype.returns == Returns::Int {
            spec.flags |= spec_flag::DENY;
        }
        if self.hook == Hook::BprmCredsForExec {
            spec.flags |= spec_flag::EXEC_BEGINS;
        }
        CuratedSpec { spec, places, missing }
    }

    /// Tells which rows the keys of rules are taken from.
    fn name_objects(&self, spec: &mut Spec, places: &[Option<usize>]) {
        let (kind, name) = match self.object {
            CuratedObject::None => (ObjectKind::None, ""),
            CuratedObject::File(name) => (ObjectKind::File, name),
            CuratedObject::Network(name) => (ObjectKind::Network, name),
        };
        let field = self.fields.iter().position(|field| field.name == name);
        if let Some(Some(at)) = field.and_then(|field| places.get(field).copied()) {
            spec.object = kind as u32;
            spec.object_capture = u32::try_from(at).unwrap_or(0);
            if executes(self.hook.name()) {
                spec.flags |= spec_flag::EXECUTES;
            }
        }
        let row = |name: &str| {
            let field = self.fields.iter().position(|field| field.name == name)?;
            let row = places.get(field).copied().flatten()?;
            u32::try_from(row + 1).ok()
        };
        if spec.object == ObjectKind::Network as u32 {
            spec.protocol_row = row("protocol").unwrap_or(0);
        }
        if self.hook.has_path() {
            spec.path_row = row("path").or(row("folder")).unwrap_or(0);
            // A call about a folder's entry whose name cannot be told is about no path.
            match (row("path"), row("name")) {
                (None, Some(name)) => spec.name_row = name,
                (None, None) => spec.path_row = 0,
                (Some(_), _) => {}
            }
            if spec.path_row == 0 {
                spec.flags |= spec_flag::PATH_UNTOLD;
            }
        }
        spec.second_capture = self.second.and_then(row).unwrap_or(0);
        if self.hook.has_path() && self.second.is_some() {
            let entry = row("new_folder").zip(row("new_name"));
            (spec.second_path_row, spec.second_name_row) = entry.unwrap_or((0, 0));
        }
    }
}

impl Bits {
    /// The row that reads them, if the field is there.
    fn rows(self, types: &KernelTypes, prototype: &Prototype) -> Option<Capture> {
        let captured = field_path::resolve(types, prototype, self.path).ok()?;
        let [row] = fits(Shape::Number, captured)?.try_into().ok()?;
        Some(Capture { shift: self.shift, width: self.width, ..row })
    }
}

/// The rows of what was found, if that is what the field is.
fn fits(shape: Shape, captured: Captured) -> Option<Vec<Capture>> {
    let is = matches!(
        (shape, captured.field.kind),
        (Shape::Number, FieldKind::Unsigned(_) | FieldKind::Signed(_))
            | (Shape::Text | Shape::Inline, FieldKind::Text(_))
            | (Shape::Bytes(_), FieldKind::Bytes(_))
            | (Shape::Path, FieldKind::Path)
            | (Shape::Dentry, FieldKind::Names)
            | (Shape::Inode, FieldKind::Inode)
            | (Shape::SockAddr, FieldKind::Address)
    );
    is.then_some(captured.rows)
}
