/// xorshift: the same numbers in every run with the same seed.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0xbf58_476d_1ce4_e5b9));
        // Neighbouring seeds begin alike.
        (0..8).for_each(|_| _ = numbers.below(2));
        numbers
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) % bound as u64) as usize
    }

    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// One to three of them, now and then one twice.
    pub fn some<T: Copy>(&mut self, items: &[T]) -> Vec<T> {
        let count = [1, 1, 1, 2, 3][self.below(5)];
        (0..count).map(|_| self.pick(items)).collect()
    }
}
