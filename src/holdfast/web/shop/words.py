"""The texts of the shop's scripts, by the keys that they ask for: here, so that the catalogues stay in one place."""

from holdfast.platform.languages import Language


def words(spoken: Language) -> dict[str, str]:
    """The texts of map, list and basket. `{name}` in one is filled in by the script."""
    return {
        "stage": spoken.text("Stage"),
        "left": spoken.text("{n} left"),
        "sold_out": spoken.text("Sold out"),
        "from": spoken.text("from {price}"),
        "free_of_charge": spoken.text("Free"),
        "row": spoken.text("Row {row}"),
        "seat": spoken.text("Seat {seat}"),
        "row_seat": spoken.text("Row {row}, seat {seat}"),
        "row_seats": spoken.text("Row {row}, seats {seats}"),
        "some_seats": spoken.text("Seats {seats}"),
        "map_label": spoken.text("Seat map"),
        "map_help": spoken.text(
            "Drag to move, pinch or turn the wheel to come closer. With the keyboard: arrows, plus and minus; seats are chosen in the list below."
        ),
        "to_list": spoken.text("Go to the list of seats"),
        "list_title": spoken.text("All seats as a list"),
        "list_help": spoken.text(
            "Open a section. The arrow keys move between seats and rows, Enter chooses."
        ),
        "best_title": spoken.text("Let us choose for you"),
        "your_seats": spoken.text("Your seats"),
        "nothing_chosen": spoken.text("Nothing chosen yet."),
        "total": spoken.text("Total"),
        "claim": spoken.text("Take these seats"),
        "claiming": spoken.text("One moment, we are taking them …"),
        "price_of": spoken.text("Price of {place}"),
        "let_go_of": spoken.text("Let go of {place}"),
        "zoom_in": spoken.text("Closer"),
        "zoom_out": spoken.text("Further away"),
        "whole_plan": spoken.text("The whole plan"),
        "prices": spoken.text("Prices"),
        "marks": spoken.text("Marks"),
        "mark_free": spoken.text("free"),
        "mark_chosen": spoken.text("chosen by you"),
        "mark_taken": spoken.text("taken"),
        "mark_blocked": spoken.text("not on sale"),
        "state_free": spoken.text("free"),
        "state_chosen": spoken.text("chosen by you"),
        "state_taken": spoken.text("taken"),
        "state_blocked": spoken.text("not on sale"),
        "access_wheelchair": spoken.text("wheelchair place"),
        "access_companion": spoken.text("seat for a companion"),
        "access_only": spoken.text("Accessible places"),
        **_said(spoken),
    }


def words_of_time(spoken: Language) -> dict[str, str]:
    """The texts of the countdown. `{n}` are seconds."""
    return {
        "time_left": spoken.text("{n} seconds left."),
        "time_left_more": spoken.text("{n} seconds left. More time can be had by the button."),
        "time_more": spoken.text("You have more time: {n} seconds."),
    }


def _said(spoken: Language) -> dict[str, str]:
    """What happens while somebody chooses, and what was refused."""
    return {
        "live_live": spoken.text("Up to date"),
        "live_polling": spoken.text("Up to date every few seconds"),
        "live_lost": spoken.text("No connection: perhaps not up to date"),
        "take_standing": spoken.text("Choose how many"),
        "where": spoken.text("Where?"),
        "anywhere": spoken.text("Anywhere"),
        "how_many": spoken.text("How many?"),
        "apart_will_do": spoken.text("Apart will do if need be"),
        "take_best": spoken.text("Take the best available"),
        "was_chosen": spoken.text("{place} chosen. Chosen in all: {n}."),
        "were_chosen": spoken.text("Chosen: {places}."),
        "was_let_go": spoken.text("{place} let go. Chosen in all: {n}."),
        "is_taken": spoken.text("{place} is taken."),
        "was_lost": spoken.text("Somebody was a moment faster: {places}."),
        "came_free": spoken.text("Places that came free: {n}."),
        "too_many": spoken.text("One booking may have {n} places at most."),
        "trouble": spoken.text(
            "The answer is late, perhaps for the connection. We keep asking; nothing is booked twice."
        ),
        "no_answer": spoken.text(
            "We got no answer and do not know yet whether these seats are yours. Please ask again: nothing is booked twice."
        ),
        "ask_again": spoken.text("Ask again"),
        "resuming": spoken.text("We are asking what became of your last attempt …"),
        "choose_instead": spoken.text("Choose {places} instead"),
        "take_instead": spoken.text("Take {places} instead"),
        "take_too": spoken.text("Take {places} as well"),
        "take_apart": spoken.text("Take them apart"),
        "refused_seats_taken": spoken.text(
            "Somebody was a moment faster with: {places}. You have none of these seats yet."
        ),
        "refused_orphan_seat": spoken.text(
            "Your choice would leave a single seat alone that nobody could use: {places}. Please move by one, or take it as well."
        ),
        "refused_not_together": spoken.text("There are enough places, but not side by side."),
        "refused_sold_out": spoken.text("There are not enough places left. Try fewer, or another section."),
        "refused_not_on_sale": spoken.text("This show is not on sale now."),
        "refused_limit_reached": spoken.text("You have as many places of this show as one person may have."),
        "refused_hold_limit": spoken.text("These places cannot be held any longer."),
        "refused_too_many_places": spoken.text("One booking may not have so many places of this show."),
        "refused_code_required": spoken.text(
            "These places need a code. Please enter it on the page of the show."
        ),
        "refused_rate_limited": spoken.text(
            "That was very often in a short time. Please wait a moment and try again."
        ),
        "refused_busy": spoken.text(
            "Very many people are here just now. Nothing is lost. Please try again in a few seconds."
        ),
        "refused_else": spoken.text("That did not work. Please choose again."),
    }
