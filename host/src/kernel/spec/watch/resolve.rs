//! A parsed watch × the types of this kernel → what the template program is frozen with.

use krsi_host_abi::spec::{CAPTURES, Capture, ObjectKind, ROOMS, Read, Spec, spec_flag};

use super::super::field_path::{
    self, Captured, Field, FieldError, FieldKind, FieldPath, Suggestion,
};
use super::super::predicate::{LABELS, Lowered};
use super::{Resolved, WatchError, WatchIfUnread, WatchSpec, WatchVerdict, function, label, reach};
use crate::kernel::btf::kfunc::Kfuncs;
use crate::kernel::btf::{KernelTypes, Prototype, PrototypeError, Returns};

/// Hooks that answer yes or no: a negative value is no refusal, and 6.12 does not load it.
const YES_OR_NO: &[&str] =
    &["xfrm_state_pol_flow_match", "audit_rule_known", "inode_xattr_skipcap"];

impl WatchSpec {
    /// Resolves a watch on this kernel, whose programs may call `kfuncs`. `prototype` finds the prototype of
    /// a hook, usually `|hook| types.prototype(&format!("bpf_lsm_{hook}"))`.
    ///
    /// # Errors
    /// When the hook, a field or a test is not possible on this kernel, or there is too much.
    pub(crate) fn resolve(
        &self,
        types: &KernelTypes,
        kfuncs: &Kfuncs,
        prototype: impl Fn(&str) -> Result<Prototype, PrototypeError>,
    ) -> Result<Resolved, WatchError> {
        let prototype = prototype(&self.hook).map_err(|error| self.no_hook(types, error))?;
        self.check_labels()?;
        let cannot_deny = self.cannot_deny(&prototype);
        if let (Some(WatchVerdict::Deny(_)), Some(why)) = (&self.verdict, cannot_deny) {
            return Err(WatchError::CannotDeny { hook: self.hook.clone(), why });
        }
        let mut rows = Rows {
            types,
            prototype: &prototype,
            rows: Vec::new(),
            fields: Vec::new(),
            attributes: Vec::new(),
            rooms: 0,
        };
        for asked in &self.asked {
            rows.show(&asked.path, asked.name.as_deref())?;
        }
        let lowered = self.lower(&mut rows)?;
        let executed = if self.verdict.is_some() { rows.executed(&self.hook) } else { None };
        function::choose_reads(&mut rows.rows, &rows.fields, lowered.as_ref(), kfuncs)?;
        let mut spec = rows.spec();
        if let Some(row) = executed {
            spec.object = ObjectKind::File as u32;
            spec.object_capture = count(row);
            spec.flags |= spec_flag::EXECUTES;
        }
        self.flags(&mut spec, lowered.as_ref(), cannot_deny.is_none());
        self.give(&mut spec)?;
        let lowered = lowered.filter(|lowered| !lowered.is_true());
        if let Some(lowered) = &lowered {
            freeze(&mut spec, lowered);
        }
        let used = lowered.as_ref().map_or(0, |lowered| lowered.strings.len());
        function::name_attributes(&mut spec, &rows.attributes, used)?;
        if lowered.is_some_and(|lowered| function::tests_path(&spec, &lowered)) {
            spec.flags |= spec_flag::PATH_TEST;
        }
        let can_deny = cannot_deny.is_none();
        let beyond = reach::beyond(types, &prototype, &self.hook, &rows.fields, &rows.rows);
        let hook = self.hook.clone();
        Ok(Resolved { spec, fields: rows.fields, hook, can_deny, beyond })
    }

    fn no_hook(&self, types: &KernelTypes, error: PrototypeError) -> WatchError {
        match error {
            PrototypeError::NoFunction { .. } => {
                let names = types.function_names("bpf_lsm_");
                let near = field_path::resembling(&self.hook, &names);
                let names = if near.is_empty() { names } else { near };
                WatchError::NoHook {
                    hook: self.hook.clone(),
                    choice: Suggestion::new(&self.hook, names),
                }
            }
            other => other.into(),
        }
    }

    fn cannot_deny(&self, prototype: &Prototype) -> Option<&'static str> {
        match prototype.returns {
            Returns::Int if YES_OR_NO.contains(&self.hook.as_str()) => Some("it answers yes or no"),
            Returns::Int => None,
            Returns::Void => Some("it returns nothing"),
            Returns::Other => Some("it does not return an errno"),
        }
    }

    /// The predicate; what it needs and nobody asked for is captured without being shown.
    fn lower(&self, rows: &mut Rows<'_>) -> Result<Option<Lowered>, WatchError> {
        let Some(predicate) = &self.predicate else { return Ok(None) };
        let mut failure = None;
        let lowered = predicate.lower(&mut |path| {
            if let Some(field) = rows.known(path) {
                return Ok(field.clone());
            }
            let captured = match path.root.as_str() {
                LABELS => label::captured(),
                _ => field_path::resolve_path(rows.types, rows.prototype, path)?,
            };
            if let Some(field) = rows.sent(&captured.field)? {
                return Ok(field);
            }
            let field = Field { shown: false, ..captured.field.clone() };
            let at = rows.rows.len();
            if let Err(error) = rows.add(Captured { field: field.clone(), ..captured }) {
                failure.get_or_insert(error);
            }
            Ok(Field { row: at, ..field })
        });
        match failure {
            Some(error) => Err(error),
            None => Ok(Some(lowered?)),
        }
    }

    fn flags(&self, spec: &mut Spec, lowered: Option<&Lowered>, can_deny: bool) {
        let mut reads = spec.captures.iter().map(|capture| capture.read);
        let reads_content = reads.any(|read| read == Read::Content as u8);
        let mut set = |flag, on: bool| spec.flags |= if on { flag } else { 0 };
        set(spec_flag::DENY, can_deny);
        set(spec_flag::PREDICATE, lowered.is_some_and(|lowered| !lowered.is_true()));
        set(spec_flag::WATCH_DENY, matches!(self.verdict, Some(WatchVerdict::Deny(_))));
        set(spec_flag::WATCH_AUDIT, matches!(self.verdict, Some(WatchVerdict::Audit(_))));
        let passes = match self.if_unread {
            Some(said) => said == WatchIfUnread::Pass,
            // Honest programs send from memory that is not there yet.
            None => reads_content,
        };
        set(spec_flag::UNKNOWN_PASSES, passes && self.verdict.is_some());
        if let Some(WatchVerdict::Deny(errno) | WatchVerdict::Audit(errno)) = &self.verdict {
            spec.errno = u32::from(*errno);
        }
    }
}

fn freeze(spec: &mut Spec, lowered: &Lowered) {
    copy(&mut spec.atoms, &lowered.atoms);
    copy(&mut spec.terms, &lowered.terms);
    copy(&mut spec.strings, &lowered.strings);
    spec.atom_count = count(lowered.atoms.len());
    spec.term_count = count(lowered.terms.len());
}

fn copy<T: Copy>(to: &mut [T], from: &[T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Captures as they come.
struct Rows<'a> {
    types: &'a KernelTypes,
    prototype: &'a Prototype,
    rows: Vec<Capture>,
    fields: Vec<Field>,
    /// Rows of extended attributes, and their names.
    attributes: Vec<(usize, String)>,
    rooms: u16,
}

impl Rows<'_> {
    fn show(&mut self, path: &FieldPath, name: Option<&str>) -> Result<(), WatchError> {
        let mut captured = field_path::resolve_path(self.types, self.prototype, path)?;
        if let FieldKind::ContentByte(_) = captured.field.kind {
            return Err(FieldError::ContentByte { path: captured.field.path }.into());
        }
        if let Some(name) = name {
            name.clone_into(&mut captured.field.name);
        }
        let name = &captured.field.name;
        if self.fields.iter().any(|known| known.name == *name) {
            return Err(WatchError::Twice { name: name.clone() });
        }
        if self.content().is_some() && matches!(captured.field.kind, FieldKind::Content(_)) {
            return Err(WatchError::Content { field: name.clone() });
        }
        let taken = field_path::root_names(self.prototype).contains(name);
        if taken && captured.field.path != *name {
            return Err(WatchError::Shadows { name: name.clone() });
        }
        self.add(captured)
    }

    /// The row of what is sent.
    fn content(&self) -> Option<usize> {
        self.rows.iter().position(|row| row.read == Read::Content as u8)
    }

    /// What is sent, or a byte of it, as a field of the row that reads it already.
    fn sent(&self, field: &Field) -> Result<Option<Field>, FieldError> {
        let Some((row, bound)) = self.content().and_then(|at| Some((at, self.rows.get(at)?.bound)))
        else {
            return Ok(None);
        };
        let kind = match field.kind {
            FieldKind::Content(_) => FieldKind::Content(bound),
            FieldKind::ContentByte(at) if u16::from(at) >= bound => {
                let (path, type_name) = (field.path.clone(), field.type_name.clone());
                return Err(FieldError::Index { path, type_name, len: bound.into() });
            }
            FieldKind::ContentByte(at) => FieldKind::ContentByte(at),
            _ => return Ok(None),
        };
        Ok(Some(Field { kind, row, shown: false, ..field.clone() }))
    }

    /// The captured field that a path of the predicate means: by its name, else by its own path.
    fn known(&self, path: &FieldPath) -> Option<&Field> {
        let text = path.text();
        let named = self.fields.iter().find(|field| field.name == text);
        named.or_else(|| self.fields.iter().find(|field| field.path == text))
    }

    fn add(&mut self, captured: Captured) -> Result<(), WatchError> {
        let Captured { mut field, rows, attribute } = captured;
        field.row = self.rows.len();
        self.attributes.extend(attribute.map(|name| (field.row, name)));
        if self.rows.len() + rows.len() > CAPTURES {
            return Err(WatchError::Captures { field: field.name });
        }
        for mut row in rows {
            if row.takes_room() {
                if usize::from(self.rooms) >= ROOMS {
                    return Err(WatchError::Rooms { field: field.name });
                }
                row.room = self.rooms;
                self.rooms += 1;
            }
            self.rows.push(row);
        }
        self.fields.push(field);
        Ok(())
    }

    /// The row of the file that is to be executed, captured unseen if nobody asked for it. A watch that
    /// has no room left for it, which takes all of its captures, goes without.
    fn executed(&mut self, hook: &str) -> Option<usize> {
        let paths = crate::kernel::spec::executed::paths(hook).iter();
        let captured = paths
            .filter_map(|path| field_path::resolve(self.types, self.prototype, path).ok())
            .find(|captured| captured.field.kind == FieldKind::Inode)?;
        let known = self.fields.iter().find(|field| field.path == captured.field.path);
        if let Some(field) = known {
            return Some(field.row);
        }
        let row = self.rows.len();
        let field = Field { shown: false, ..captured.field.clone() };
        self.add(Captured { field, ..captured }).ok().map(|()| row)
    }

    fn spec(&self) -> Spec {
        let mut spec = Spec { capture_count: count(self.rows.len()), ..Spec::EMPTY };
        copy(&mut spec.captures, &self.rows);
        let shown = |kind| self.fields.iter().find(|field| field.shown && field.kind == kind);
        let object = match (shown(FieldKind::Inode), shown(FieldKind::Address)) {
            (Some(inode), _) => Some((ObjectKind::File, inode)),
            (None, Some(address)) => Some((ObjectKind::Network, address)),
            (None, None) => None,
        };
        if let Some((kind, field)) = object {
            spec.object = kind as u32;
            spec.object_capture = count(field.row);
        }
        spec
    }
}
