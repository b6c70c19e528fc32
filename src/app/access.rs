//! Accessibility in the page: the widget tree, mirrored into the DOM.
