//! pretrain
