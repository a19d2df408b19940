"""An honest solution of every task of the demo's evaluation: what a stand-in teacher must not find fault with."""


def smallest_position(numbers):
    return numbers.index(min(numbers)) if numbers else None


def remove_spaces(text):
    return text.replace(" ", "")


def count_even(values):
    return sum(value % 2 == 0 for value in values)


def multiply_all(factors):
    product = 1
    for factor in factors:
        product *= factor
    return product


def is_sorted(sequence):
    return all(sequence[i - 1] <= sequence[i] for i in range(1, len(sequence)))


def last_word(sentence):
    words = sentence.split()
    return words[-1] if words else ""


def interleave(evens, odds):
    result = []
    for even, odd in zip(evens, odds, strict=True):
        result.extend((even, odd))
    return result


def gap(a, b):
    return abs(a - b)


def divisors(n):
    return [number for number in range(1, n + 1) if n % number == 0]


def mask_digits(text):
    return "".join("#" if letter.isdigit() else letter for letter in text)


def perimeter(width, height):
    return 2 * (width + height)


def join_names(names):
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]


def group_by_length(words):
    groups = {}
    for word in words:
        groups.setdefault(len(word), []).append(word)
    return groups


def every_other(items):
    return items[::2]


def shorten(text, limit):
    return text if len(text) <= limit else text[:limit] + "..."


def compound(amount, rate, years):
    return amount * (1 + rate / 100) ** years


def blank_lines(text):
    return sum(1 for line in text.splitlines() if not line.strip())


def strip_edges(text):
    return text.strip()


def minutes_between(start, end):
    return (end - start) / 60


def only_strings(items):
    return [item for item in items if isinstance(item, str)]


def key_of(mapping, wanted):
    for key, value in mapping.items():
        if value == wanted:
            return key
    return None


def squares(limit):
    found = []
    root = 0
    while root * root < limit:
        found.append(root * root)
        root += 1
    return found


def starts_with_vowel(word):
    return word[:1].lower() in set("aeiou")


def column(rows, place):
    return [row[place] for row in rows]


def remove_key(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


def is_square(rows):
    return all(len(row) == len(rows) for row in rows)


def spread(numbers):
    return max(numbers) - min(numbers) if numbers else 0


def count_changes(values):
    return sum(values[i] != values[i - 1] for i in range(1, len(values)))


def sum_of_odds(numbers):
    return sum(number for number in numbers if number % 2)


def between(text, left, right):
    _, _, rest = text.partition(left)
    return rest.partition(right)[0]


def volume(length, width, depth):
    return length * width * depth if min(length, width, depth) >= 0 else 0


def zip_longest(first, second):
    pairs = []
    for i in range(max(len(first), len(second))):
        pairs.append((first[i] if i < len(first) else None, second[i] if i < len(second) else None))
    return pairs
