use super::*;

/// An item as the kernel writes it.
fn item(key: Key, data: &[u8]) -> Vec<u8> {
    let head = [1_u64, key.0, key.2].iter().flat_map(|n| n.to_ne_bytes()).collect::<Vec<_>>();
    [&head, &key.1.to_ne_bytes()[..], &(data.len() as u32).to_ne_bytes(), data].concat()
}

/// An entry of a directory: its key, transid, lengths, type and name.
fn entry(name: &[u8]) -> Vec<u8> {
    [&[7; 17][..], &[0; 8], &0_u16.to_le_bytes(), &(name.len() as u16).to_le_bytes(), &[2], name].concat()
}

#[test]
fn whatever_a_tree_holds_is_passed_over_or_read() {
    let directory = [entry(b"data"), entry(b"other")].concat();
    let reference = [&[0; 16][..], &4_u16.to_le_bytes(), b"data"].concat();
    let inode = [&[0; 8][..], &4_u16.to_le_bytes(), b"data"].concat();
    let limit = [5_u64, 10, 20, 30, 40].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>();
    let tree = [item((256, DIR_ITEM, 1), &directory), item((5, ROOT_REF, 257), &reference)].concat();
    crate::testing::each(&[&tree, &directory, &reference, &inode, &limit], |bytes| {
        for count in [2, u32::MAX] {
            let found: usize = parse_items(bytes, count).map(|item| item.data.len() + 32).sum();
            assert!(found <= bytes.len());
            parse_items(bytes, count).last().and_then(|item| after(item.key));
        }
        let names: usize = dir_items(bytes).map(|entry| entry.name.len() + 30).sum();
        assert!(names <= bytes.len());
        parse_root_ref((5, ROOT_REF, 257), bytes);
        parse_inode_ref((5, INODE_REF, 256), bytes);
        parse_status(bytes);
        parse_limit(bytes);
    });
}
