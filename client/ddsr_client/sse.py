"""Server-sent events, line by line (WHATWG HTML, 9.2.6). No input or output here."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """One event: its name and its data."""

    name: str
    data: str


@dataclass
class EventParser:
    """Feed it lines without their ends; an empty line completes an event."""

    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, line: str) -> Event | None:
        """The event that this line completes, if it does. Comments and unknown fields are passed over."""
        if line:
            self._take(line)
            return None
        event = Event(self._name or "message", "\n".join(self._data)) if self._data else None
        self._name, self._data = "", []
        return event

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
