//! Files of plugins: which of them have come, changed or gone, and are complete.

mod place;
mod sign;

#[cfg(test)]
mod tests;

pub(crate) use self::place::{
    DueFile, PluginFiles, PluginPlace, in_folder, is_same_folder, without_twins,
};
pub(crate) use self::sign::{FolderWatch, inotify_error};
